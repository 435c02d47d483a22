"""Where it runs: the ports, and one package of adapters per platform with the same module names."""
