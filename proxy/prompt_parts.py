"""The JSON that prompts are made of: messages, their parts, texts and token ids."""

from typing import Annotated, Final

import msgspec

_Token = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str = ""
    content: str | list[msgspec.Raw] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class Part(msgspec.Struct):
    """One part of a message, ``None`` for its text where it is an image or audio."""

    text: str | None = None


decode_message: Final = msgspec.json.Decoder(Message).decode
decode_messages: Final = msgspec.json.Decoder(list[Message]).decode
decode_part: Final = msgspec.json.Decoder(Part).decode
decode_text: Final = msgspec.json.Decoder(str).decode
decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_tokens: Final = msgspec.json.Decoder(list[_Token]).decode
