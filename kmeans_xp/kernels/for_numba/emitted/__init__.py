"""Functions that emit LLVM's vector code themselves; README.md says why and how."""

__all__: list[str] = []
