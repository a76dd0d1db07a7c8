"""What control groups allow, of files as Linux writes them."""

from __future__ import annotations

from rankbook.engine.host import cgroups

UNLIMITED = 9223372036854771712


def test_the_smallest_memory_limit_of_nested_control_groups_is_found(host):
    root = host(
        "0::/slurm/job 7/step\n",
        {
            "slurm/memory.max": "max",
            "slurm/job 7/memory.max": 4096,
            "slurm/job 7/step/memory.max": 8192,
            "other/memory.max": 1,
        },
    )
    assert min(cgroups.memory(root)) == 4096


def test_the_limit_is_found_in_a_container_that_does_not_see_its_outer_path(host):
    root = host("0::/docker/abc\n", {"memory.max": 4096})
    assert cgroups.memory(root) == [4096]


def test_memory_limits_of_the_older_kind_of_control_groups(host):
    root = host(
        "5:cpu,memory:/a\n1:name=systemd:/\n0::/\n",
        {"memory/memory.limit_in_bytes": UNLIMITED, "memory/a/memory.limit_in_bytes": 4096},
    )
    assert cgroups.memory(root) == [UNLIMITED, 4096]


def test_core_limits_of_the_newer_kind_of_control_groups(host):
    root = host(
        "0::/job/step\n",
        {
            "cpu.max": "max 100000",
            "job/cpu.max": "400000 100000",
            "job/step/cpu.max": "150000 100000",
        },
    )
    assert cgroups.cpus(root) == [4.0, 1.5]


def test_core_limits_of_the_older_kind_of_control_groups(host):
    files = {
        "cpu/cpu.cfs_quota_us": -1,
        "cpu/cpu.cfs_period_us": 100000,
        "cpu/a/cpu.cfs_quota_us": 250000,
        "cpu/a/cpu.cfs_period_us": 100000,
    }
    assert cgroups.cpus(host("4:cpuacct,cpu:/a\n1:name=systemd:/\n0::/\n", files)) == [2.5]


def test_control_groups_without_a_sensible_limit_allow_everything(host, tmp_path):
    assert cgroups.cpus(tmp_path) == cgroups.memory(tmp_path) == []
    files = {"cpu.max": "", "memory.max": "", "a/cpu.max": "1 2 3", "a/b/cpu.max": "5000 0"}
    root = host("0::/a/b/c\n", files)
    assert cgroups.cpus(root) == cgroups.memory(root) == []
