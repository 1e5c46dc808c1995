"""Real vLLM servers on this machine's CPU behind Foretoken and behind other routers."""
