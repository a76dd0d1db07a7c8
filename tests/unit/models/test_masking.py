"""What looks like a secret, and what only might."""

from __future__ import annotations

import base64
import dataclasses
from random import Random

import pytest

from rankbook import models
from rankbook.masking import MASK, is_secret_name, masked, secret_values
from rankbook.models.report import Report

NAMES = """
    HF_TOKEN WANDB_API_KEY AWS_SECRET_ACCESS_KEY password DB_PASS apiKey accessKey HFTOKEN SLURM_JWT
    X-Auth-Token client_secret private_key Authorization cookie MASTER_KEY tokens passwd signature
"""

ORDINARY = """
    tokenizer keyboard monkey MASTER_ADDR NCCL_SOCKET_IFNAME RANK passing compass author authors
    CUDA_VISIBLE_DEVICES secretary_ OMP_NUM_THREADS per_rank bypassed
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_name_of_a_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ORDINARY.replace("secretary_", "").split())
def test_a_name_of_anything_else(name):
    assert not is_secret_name(name)


SECRETS = [
    # Python
    ('token = "abc"', f'token = "{MASK}"'),
    ("token='abc'", f"token='{MASK}'"),
    ('token: str = "abc"', f'token: str = "{MASK}"'),
    ('self.api_key = rb"abc"', f'self.api_key = rb"{MASK}"'),
    ('login(token="abc", user="bob")', f'login(token="{MASK}", user="bob")'),
    ('os.environ["HF_TOKEN"] = "abc"', f'os.environ["HF_TOKEN"] = "{MASK}"'),
    ('environ.setdefault("HF_TOKEN", "abc")', f'environ.setdefault("HF_TOKEN", "{MASK}")'),
    ('{"token": "abc", "user": "bob"}', f'{{"token": "{MASK}", "user": "bob"}}'),
    ('set_password("abc")', f'set_password("{MASK}")'),
    ('keys = dict(api_keys=["abc", "def"])', f'keys = dict(api_keys=["{MASK}", "{MASK}"])'),
    ('user, token = "bob", "abc"', f'user, token = "{MASK}", "{MASK}"'),
    ('token, user = "abc", "bob"', f'token, user = "{MASK}", "{MASK}"'),
    ('token = getenv("HF_TOKEN") or "abc"', f'token = getenv("HF_TOKEN") or "{MASK}"'),
    ('f(token=x if y else "abc")', f'f(token={MASK} if y else "{MASK}")'),
    ('if token == "abc": pass', f'if token == "{MASK}": pass'),
    ('token = (\n  "abc"\n  "def"\n)\nx = "y"', f'token = (\n  "{MASK}"\n  "{MASK}"\n)\nx = "y"'),
    ('token = """abc\ndef"""\nx = "y"', f'token = """{MASK}"""\nx = "y"'),
    ('token = \\\n  "abc"\nx = "y"', f'token = \\\n  "{MASK}"\nx = "y"'),
    ("token = '''abc", f"token = '''{MASK}"),  # a stack shows only the first line of it
    ('token = "abc', f'token = "{MASK}'),
    ('key = "abc"', f'key = "{MASK}"'),
    (r'"{\"token\": \"abc\"}"', rf'"{{\"token\": \"{MASK}\"}}"'),
    ("x = 1  # password: hunter2", f"x = 1  # password: {MASK}"),
    # shells, URLs, other texts
    ("!export HF_TOKEN=abc", f"!export HF_TOKEN={MASK}"),
    ("%env HF_TOKEN=abc", f"%env HF_TOKEN={MASK}"),
    ("%env HF_TOKEN abc", f"%env HF_TOKEN {MASK}"),
    ("!train --api-key abc --size 3", f"!train --api-key {MASK} --size 3"),
    ("!train --token=abc --size 3", f"!train --token={MASK} --size 3"),
    ("!curl -u bob:abc https://x.y", f"!curl -u bob:{MASK} https://x.y"),
    ('!curl -H "Authorization: Bearer abc"', f'!curl -H "Authorization: Bearer {MASK}"'),
    ('!curl -H "X-API-Key: abc123"', f'!curl -H "X-API-Key: {MASK}"'),
    ('connect("host=a password=abc user=b")', f'connect("host=a password={MASK} user=b")'),
    ("postgres://bob:abc@db.x.y/z", f"postgres://{MASK}@db.x.y/z"),
    ("https://x.y/z?token=abc&u=1", f"https://x.y/z?token={MASK}&u=1"),
    # by looks
    ("login('hf_abcdefghijklmnop')", f"login('{MASK}')"),
    ("AKIAABCDEFGHIJKLMNOP", MASK),
    ("sha " + "0a1b2c3d" * 4, f"sha {MASK}"),
    ("x = '" + "0A1B2C3D" * 5 + "'", f"x = '{MASK}'"),
    ("a eyJhbGciOiJI.eyJzdWIi.abc_def b", f"a {MASK} b"),
    (
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----{MASK}-----END PRIVATE KEY-----",
    ),
]


@pytest.mark.parametrize(("text", "expected"), SECRETS, ids=[text for text, _ in SECRETS])
def test_text_that_looks_like_a_secret_is_masked(text, expected):
    assert masked(text)[0] == expected


@pytest.mark.parametrize(("text", "expected"), SECRETS, ids=[text for text, _ in SECRETS])
def test_masked_text_is_not_masked_again(text, expected):
    assert masked(expected) == (expected, 0)


PLAIN = [
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "max_tokens = 512",
    "token = os.environ['HF_TOKEN']",
    'f(token=token, x="y")',
    "for token in ['a', 'b']: print(token)",
    "sorted(rows, key=lambda row: row['loss'])",
    "sorted(rows, key=len)",
    "loss = d[key]['loss']",
    "try:\n  pass\nexcept E:\n  ('x')",
    "waits in all_reduce #5 of 2x3 float32 (line 3: dist.all_reduce(x, group='tp'))",
    "tcp://10.0.0.1:29500 and file:///tmp/x and https://unpkg.com/three@0.160",
    'File "/home/User/.venv/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py"',
    'File "/Users/JohnSmith/MyProjectFiles/TrainModel2/DistributedTraining/main.py", line 3',
    "TestFSDPHybridShardStrategies2D._test_backward_prefetch_with_hooks_1",
    "GPU-3f2a8c1e-7b4d-4e5f-9a8b-1c2d3e4f5a6b",
    "_ZN4c10d16ProcessGroupGloo9allreduceERSt6vectorIN2at6TensorESaIS3_EERKNS_16AllreduceOptionsE",
    "Linux-6.1.0-18-cloud-amd64-x86_64-with-glibc2.36 2.9.0+cu128",
    "1234567890" * 4,
    "x1_x2_x3_x4_x5_x6_x7_x8_x9_x10_x11",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_text_that_is_no_secret_is_unchanged(text):
    assert masked(text) == (text, 0)


def test_random_base64_is_nearly_always_seen():
    random = Random(1)
    texts = [base64.b64encode(random.randbytes(30)).decode() for _ in range(300)]
    assert sum(masked(f"x = f('{text}')")[1] for text in texts) > 285


def test_a_secret_that_has_a_name_once_is_masked_where_it_has_none():
    data = {"code": 'login(token="sesame-42")', "error": "401 for sesame-42"}
    assert masked(data) == (
        {"code": f'login(token="{MASK}")', "error": f"401 for {MASK}"},
        2,
    )


@pytest.mark.parametrize("cut", ["line 3: f('sesame-42", "line 3: f('sesame-42 …)", "sesame-4"])
def test_a_secret_that_is_cut_off_is_masked_as_far_as_it_goes(cut):
    data = ['password = "sesame-42-sesame"', cut]
    assert "sesame" not in "".join(masked(data)[0])


def test_an_ordinary_word_is_masked_only_where_it_is_given_to_the_name():
    data = ['sort(key="all_reduce")', 'token = "gloo"', "gloo: all_reduce"]
    assert masked(data)[0][2] == "gloo: all_reduce"


def test_known_secrets_are_masked_wherever_they_stand():
    assert masked(["a xyzzy b", {"c": ["xyzzy"]}], ["xyzzy"]) == (
        [f"a {MASK} b", {"c": [MASK]}],
        2,
    )


def test_a_value_under_the_name_of_a_secret_is_masked_whole():
    assert masked({"NCCL_TOKEN": "a b", "NCCL_DEBUG": "INFO"}) == (
        {"NCCL_TOKEN": MASK, "NCCL_DEBUG": "INFO"},
        1,
    )


def test_texts_under_a_plain_name_are_left_as_they_are():
    digest = "0a1b2c3d" * 5
    data = {"group": digest, "calls": [{"group": digest}], "line": digest}
    assert masked(data, plain=["group"])[0] == data | {"line": MASK}


def test_numbers_and_none_pass():
    data = {"a": [1, 2.5, None, True], "b": {"c": {}}}
    assert masked(data) == (data, 0)


def test_variables_with_the_name_of_a_secret_give_known_secrets():
    environment = {
        "HF_TOKEN": "abcDEF123",
        "API_KEY": "short1",
        "HOME": "/home/Bob1234",
        "PWD": "/home/Bob1234/project",
    }
    assert secret_values(environment.items()) == {"abcDEF123"}


def fields(cls):
    for field in dataclasses.fields(cls):
        yield field.name


@pytest.mark.parametrize(
    "cls",
    [
        Report,
        *(cls for cls in map(vars(models).get, models.__all__) if dataclasses.is_dataclass(cls)),
    ],
)
def test_no_field_of_a_model_has_the_name_of_a_secret(cls):
    assert [name for name in fields(cls) if is_secret_name(name)] == []


@pytest.mark.parametrize("text", ["token=" * 1000, "token = (" * 1000, '"' * 20000, "a" * 100000])
@pytest.mark.timeout(20)
def test_a_long_text_takes_no_long_time(text):
    masked(text)
