"""The loops over numbers that every request pays for, compiled by Numba at their first call.

Each module holds one thing the models do, row by row, under the names of the physics
terms, experts and corrections it computes; the classes of the folder above own the arrays
and say what they mean. Why compiled, and what it costs: ``docs/decisions/kernels.md``.
Inside kernels arrays are indexed, never sliced: a slice costs more than what is done with
it. No fast-math: NaN is unknown.
"""
