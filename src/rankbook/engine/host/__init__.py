"""This process on its host: versions, threads, memory, GPU, folder."""
