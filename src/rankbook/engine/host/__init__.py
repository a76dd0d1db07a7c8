"""What this process runs with and uses of its host: versions, threads, memory, GPU, folder."""
