"""What a file does to its decoder stays in the child: crashes, hangs, lies and greed each end in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo, frame_numbers
from PIL import Image

from vjepa_demo.errors import BusyError, MediaError, RequestError, Stopped
from vjepa_demo.jobs import Job
from vjepa_demo.media import reader, worker
from vjepa_demo.media.clip import Clip
from vjepa_demo.media.worker import CRASHED, NOT_STARTED, PROGRAM, Pool, Worker
from vjepa_demo.options import Sampling
from vjepa_demo.settings import settings

ROOT = Path(__file__).parents[3]
QUICK = dataclasses.replace(settings, decode_seconds=1.0)
PATIENT = dataclasses.replace(settings, decode_seconds=30.0)
# A child that does what a test wants with the file named "bad", and reads all others as usual.
SUBSTITUTE = """
import os, signal, subprocess, sys, time
import numpy as np
from vjepa_demo import errors
from vjepa_demo.media import decoding
from vjepa_demo.media import reader

def bad(path, sampling, limits):
    {body}

def read(path, sampling, limits):
    return (bad if path.endswith("bad") else reader.read_clip)(path, sampling, limits)

decoding.serve(read)
"""


@contextlib.contextmanager
def pool_of(*program: str) -> Iterator[Pool]:
    pool = Pool(program)
    try:
        yield pool
    finally:
        pool.close()


def misbehaving(body: str) -> contextlib.AbstractContextManager[Pool]:
    return pool_of(sys.executable, "-c", SUBSTITUTE.format(body=body))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pool_of(*PROGRAM) as pool:
        yield pool


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


def sentence(pool: Pool, path: str | Path, limits=QUICK, error: type[Exception] = MediaError) -> str:
    with pytest.raises(error) as caught:
        pool.read_clip(path, Sampling(), limits)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert str(path) not in said
    return said


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def soon(happens: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if happens():
            return True
        time.sleep(0.02)
    return False


# --- the same as without a child -------------------------------------------------------------------------------------


def same(a: Clip, b: Clip) -> None:
    assert np.array_equal(a.frames, b.frames)
    assert a.frames.strides == b.frames.strides, "another layout could make other vectors of the same pixels"
    assert np.array_equal(a.timestamps, b.timestamps)
    assert (a.source, a.sampling, a.notes) == (b.source, b.sampling, b.notes)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.gif", "gif")])
def test_the_clip_is_the_same(pool: Pool, make_video: MakeVideo, name: str, codec: str) -> None:
    path = make_video(name, codec, size="96x64", pixels="rgb8" if codec == "gif" else "yuv420p")
    sampling = Sampling(frames=6, start=0.5)
    same(pool.read_clip(path, sampling, PATIENT), reader.read_clip(path, sampling, PATIENT))


def test_a_picture_is_the_same_and_torch_takes_it(pool: Pool, photo: Path) -> None:
    import torch

    clip = pool.read_clip(photo, Sampling(), PATIENT)
    same(clip, reader.read_clip(photo, Sampling(), PATIENT))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(clip.frames).shape == (1, 3, 24, 32)


def test_errors_are_the_same(pool: Pool, make_video: MakeVideo, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is not a video.")
    for path in (tmp_path / "missing", tmp_path / "text.mp4", tmp_path, Path("x\0y"), Path("x" * 5000)):
        with pytest.raises(MediaError) as alone:
            reader.read_clip(path, Sampling(), PATIENT)
        assert sentence(pool, path, PATIENT) == str(alone.value)
    with pytest.raises(RequestError, match="The span starts at 90 s"):
        pool.read_clip(make_video(), Sampling(start=90), PATIENT)


def test_names_that_are_no_text_and_names_relative_to_here(
    pool: Pool, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"\xff odd\n.png")
    shutil.copy(photo, odd)
    assert pool.read_clip(odd, Sampling(), PATIENT).is_image
    monkeypatch.chdir(tmp_path)
    assert pool.read_clip("photo.png", Sampling(), PATIENT).is_image


def test_the_public_function_reads_in_a_child(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "read_clip", lambda *_: pytest.fail("read by the parent"))
    assert worker.read_clip(photo).is_image
    with pytest.raises(RequestError, match="even"):
        worker.read_clip(photo, Sampling(frames=3))


# --- what files do ---------------------------------------------------------------------------------------------------

FAULTS = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "makes the decoder fail", "SIGSEGV"),
    "abort": ("os.abort()", "makes the decoder fail", "SIGABRT"),
    "exit": ("os._exit(0)", "makes the decoder fail", "exit status 0"),
    "sleep": ("time.sleep(60)", "longer than the 1 s", "stopped after 1 s"),
    "loop that lets no thread run": ("sum(range(10**11))", "longer than the 1 s", "stopped after 1 s"),
    "greed": ("np.ones(limits.decode_bytes + 2**20, np.uint8)", "more memory", ""),
    "greed by bits": ("[bytearray(2**20) for _ in range(limits.decode_bytes >> 19)]", "more memory", ""),
    "error": (
        "raise RuntimeError('evil\\nWARNING root: forged')",
        "cannot be read",
        "in the child: | WARNING root: forged",
    ),
    "output": ("while True: os.write(1, bytes(2**16))", "longer than the 1 s", "stopped after 1 s"),
    "errors of a library's": (
        r"os.write(2, b'x\x1b[31m\nWARNING root: forged\n' + b'y' * 10**7); time.sleep(0.3); os.abort()",
        "makes the decoder fail",
        "in the child: | WARNING root: forged",
    ),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "longer than the 1 s", "stopped after 1 s"),
}


@pytest.mark.parametrize(("body", "says", "logged"), FAULTS.values(), ids=FAULTS)
def test_every_fault_ends_in_a_sentence_and_the_next_file_is_read(
    photo: Path, caplog: pytest.LogCaptureFixture, body: str, says: str, logged: str
) -> None:
    # What is greedy gets the time that a busy machine takes to fill so much memory.
    limits = dataclasses.replace(PATIENT if says == "more memory" else QUICK, decode_bytes=2**28)
    with misbehaving(body) as pool:
        began = time.monotonic()
        assert says in sentence(pool, "bad", limits)
        assert time.monotonic() - began < 30, "the import of numpy, a second, and the killing"
        same(pool.read_clip(photo, Sampling(), PATIENT), reader.read_clip(photo))
    assert logged in caplog.text
    assert not re.search("^WARNING root: forged", caplog.text, re.MULTILINE)


HEAD = (
    "answer = {'shape': [2, 1, 1], 'planar': False, 'timestamps': [0.0, 1.0], 'notes': [], 'again': True, 'log': [], "
    "'source': {'kind': 'video', 'width': 1, 'height': 1, 'codec': 'h264'}}\n"
)
LIES = {
    "nothing like it": "line = b'hello\\n'",
    "no object": "line = b'[1]\\n'",
    "nested without end": "line = b'[' * 10**5 + b'\\n'",
    "a line without end": "line = b' ' * 2**22",
    "other number of frames": "answer['shape'][0] = 4",
    "more pixels than fit": "answer['shape'] = [2, 10**6, 10**6]",
    "no pixels": "answer['shape'] = [2, 0, 5]",
    "negative": "answer['shape'] = [2, -1, -1]",
    "text for a size": "answer['shape'] = ['x', 1, 1]",
    "infinite size": "answer['shape'] = [float('inf'), 1, 1]",
    "times that are none": "answer['timestamps'] = [0.0, float('nan')]",
    "times backwards": "answer['timestamps'] = [1.0, 0.0]",
    "too few times": "answer['timestamps'] = [1.0]",
    "nested times": "answer['timestamps'] = [[1.0], [2.0]]",
    "duration": "answer['source']['duration'] = float('inf')",
    "width": "answer['source']['width'] = '1'",
    "kind": "answer['source']['kind'] = '<b>'",
    "codec": "answer['source']['codec'] = '<script>'",
    "another field": "answer['source']['path'] = '/etc'",
    "notes": "answer['notes'] = [1]",
    "no sentence": "answer = {'error': 'MediaError', 'says': None}",
    "too few pixels": "ends = True",
}
LIAR = """
import json, os, socket, sys
channel = socket.socket(fileno=0)
channel.recv(2**16)
channel.sendall(b'{"begun": true}\\n')
line, ends = None, False
%s
channel.sendall((json.dumps(answer).encode() + b"\\n" if line is None else line) + bytes(5 if ends else 6))
"""


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_child_that_lies_is_not_believed(lie: str) -> None:
    with pool_of(sys.executable, "-c", LIAR % (HEAD + lie)) as pool, pytest.raises(MediaError) as caught:
        pool.read_clip("bad", Sampling(2), QUICK)
    assert str(caught.value) == CRASHED


def test_what_the_liar_says_without_lying_is_a_clip() -> None:
    with pool_of(sys.executable, "-c", LIAR % HEAD) as pool:
        assert pool.read_clip("bad", Sampling(2), QUICK).frames.shape == (2, 3, 1, 1)


def test_a_sentence_of_the_child_is_one_line_of_text() -> None:
    lie = "answer = {'error': 'Exception', 'says': 'a\\n\\x1b[31mb\\u202ec' + 'x' * 10**5}"
    with pool_of(sys.executable, "-c", LIAR % (HEAD + lie)) as pool, pytest.raises(MediaError) as caught:
        pool.read_clip("bad", Sampling(2), QUICK)
    assert re.fullmatch(r"a \[31mb cx{1,600}", str(caught.value))


def test_a_program_that_cannot_be_started_is_told(photo: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pool_of("/nowhere/python") as pool:
        assert sentence(pool, photo, error=BusyError) == NOT_STARTED
    assert "no process can be started" in caplog.text
    with pool_of(sys.executable, "-c", "raise SystemExit(3)") as pool:
        assert sentence(pool, photo, error=BusyError) == NOT_STARTED
        assert not pool._children


def test_what_is_decoded_in_order_is_not_cut_off_by_the_room_it_has(
    pool: Pool, make_video: MakeVideo, tmp_path: Path
) -> None:
    """All frames of it, kept without loss, would take many times the bytes that the child may write."""
    noise, options = ("noise=alls=40:allf=t",), ("-g", "30", "-bf", "0", "-crf", "40")
    data = bytearray(make_video(size="320x240", frames=120, fps=20, filters=noise, options=options).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    clip = pool.read_clip(str(path), Sampling(8), dataclasses.replace(settings, max_bytes=len(data)))
    assert "damaged or missing" in clip.notes[-1]
    assert clip.source.duration == pytest.approx(6, abs=0.06)
    assert frame_numbers(clip.frames)[-1] == 112


def test_a_picture_that_takes_too_much_memory(pool: Pool, tmp_path: Path) -> None:
    Image.new("RGBA", (4000, 4000)).save(tmp_path / "large.png", compress_level=1)
    assert pool.read_clip(tmp_path / "large.png", Sampling(), PATIENT).frames.shape == (1, 3, 4000, 4000)
    small = dataclasses.replace(PATIENT, decode_bytes=2**26)
    assert sentence(pool, tmp_path / "large.png", small) == reader.TOO_MUCH_MEMORY


def test_the_largest_picture_takes_well_under_a_gigabyte(pool: Pool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned, transparent: converted, laid on a ground, and turned
    picture = Image.new("RGBA", (8000, 5000))
    assert picture.width * picture.height == settings.max_image_pixels
    picture.save(tmp_path / "largest.png", compress_level=1, exif=exif)
    clip = pool.read_clip(tmp_path / "largest.png", Sampling(), dataclasses.replace(PATIENT, decode_bytes=768 * 2**20))
    assert clip.frames.shape == (1, 3, 8000, 5000)


# --- whose it is, and how long it lives ------------------------------------------------------------------------------


def test_who_leaves_is_not_waited_for(photo: Path) -> None:
    with misbehaving("open(path + '.pid', 'w').write(str(os.getpid())); time.sleep(60)") as pool:
        bad, job = photo.with_name("bad"), Job()
        pids = photo.with_name("bad.pid")
        stopped: list[float] = []

        def stop() -> None:
            soon(lambda: pids.exists() and pids.read_text() != "", 20)
            stopped.append(time.monotonic())
            job.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        with job.running(), pytest.raises(Stopped):
            pool.read_clip(bad, Sampling(), PATIENT)
        assert time.monotonic() - stopped[0] < 1.0
        assert not is_running(int(pids.read_text()))
        thread.join()


def test_what_the_child_started_and_wrote_goes_with_it(photo: Path) -> None:
    body = (
        "import tempfile; name = tempfile.mkstemp()[1]; sleeper = subprocess.Popen(['sleep', '60']); "
        "open(path + '.pid', 'w').write(f'{sleeper.pid} {name}'); sleeper.wait()"
    )
    with misbehaving(body) as pool:
        assert "longer than" in sentence(pool, photo.with_name("bad"))
    pid, name = photo.with_name("bad.pid").read_text().split()
    assert soon(lambda: not is_running(int(pid)))
    assert not Path(name).parent.exists()


@pytest.mark.parametrize("body", ["time.sleep(60)", "subprocess.run(['sleep', '60'])"], ids=["itself", "by another"])
def test_the_child_dies_with_its_parent(tmp_path: Path, body: str) -> None:
    child = SUBSTITUTE.format(body="open(path + '.pid', 'w').write(str(os.getpid())); " + body)
    code = (
        "import sys\nfrom vjepa_demo.media.worker import Pool\nfrom vjepa_demo.options import Sampling\n"
        "from vjepa_demo.settings import settings\n"
        f"Pool([sys.executable, '-c', {child!r}]).read_clip({str(tmp_path / 'bad')!r}, Sampling(), settings)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    pids = tmp_path / "bad.pid"
    assert soon(lambda: pids.exists() and pids.read_text() != "", 30)
    group = int(pids.read_text())
    assert os.getpgid(group) == group
    parent.kill()
    parent.wait()

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return not is_running(group)

    assert soon(gone)


def test_a_child_is_used_again_until_it_has_read_many_files(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_FILES", 3)
    body = "raise errors.MediaError(f'{os.getpid()}.')"
    with misbehaving(body) as pool:
        pids = [sentence(pool, "bad", PATIENT) for _ in range(7)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]


def test_a_child_that_died_while_it_was_idle_is_replaced(photo: Path) -> None:
    with misbehaving("raise errors.MediaError(f'{os.getpid()}.')") as pool:
        pid = int(sentence(pool, "bad", PATIENT)[:-1])
        os.kill(pid, signal.SIGKILL)
        assert pool.read_clip(photo, Sampling(), PATIENT).is_image


def test_many_at_once_and_few_kept(pool: Pool, make_video: MakeVideo) -> None:
    path = make_video(size="96x64")
    expected = reader.read_clip(path)
    clips: list[Clip] = []
    threads = [
        threading.Thread(target=lambda: clips.append(pool.read_clip(path, Sampling(), PATIENT))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clips) == 4
    for clip in clips:
        same(clip, expected)
    assert 1 <= len(pool._idle) <= worker.MOST_IDLE


def test_warm_does_not_wait_and_leaves_one_child() -> None:
    with pool_of(*PROGRAM) as pool:
        thread = threading.Thread(target=pool.warm)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "the imports are not waited for"
        pool.warm()
        assert len(pool._idle) == 1
        assert pool._idle[0].is_alive
        with busy(pool):
            pool.warm()
            assert not pool._idle, "one that reads a file is warm, too"


@contextlib.contextmanager
def busy(pool: Pool) -> Iterator[None]:
    worker, _ = pool._take()
    try:
        yield
    finally:
        pool._give_back(worker)


def test_the_child_gets_no_keys_and_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("VJEPA_DEMO_HARMLESS", "kept")
    body = "raise errors.MediaError(' '.join(f'{k}={v}' for k, v in os.environ.items() if k[:3] in 'HF_ AWS CUD VJE'))"
    with misbehaving(body) as pool:
        said = sentence_of(pool)
    assert "secret" not in said
    assert "VJEPA_DEMO_HARMLESS=kept" in said
    assert "CUDA_VISIBLE_DEVICES=" in said.split()


def sentence_of(pool: Pool) -> str:
    with pytest.raises(MediaError) as caught:
        pool.read_clip("bad", Sampling(), PATIENT)
    return str(caught.value)


def test_the_child_does_not_learn_who_may_log_in() -> None:
    private = dataclasses.replace(PATIENT, auth="ann:secret")
    with misbehaving("raise errors.MediaError(f'who: {limits.auth}')") as pool, pytest.raises(MediaError) as caught:
        pool.read_clip("bad", Sampling(), private)
    assert str(caught.value) == "who: None"


def test_limits_that_the_child_sets_on_itself() -> None:
    body = (
        "import resource as r; used = decoding._address_space(); raise errors.MediaError(repr(("
        "r.getrlimit(r.RLIMIT_AS)[0] - used, r.getrlimit(r.RLIMIT_CORE)[0], r.getrlimit(r.RLIMIT_FSIZE)[0])))"
    )
    limits = dataclasses.replace(PATIENT, decode_bytes=2**30, max_bytes=2**20)
    with misbehaving(body) as pool, pytest.raises(MediaError) as caught:
        pool.read_clip("bad", Sampling(), limits)
    left, core, file = eval(str(caught.value))  # noqa: S307
    assert 0 < left <= 2**30
    assert (core, file) == (0, 2**21)


def test_the_copy_of_a_process_leaves_the_children_alone() -> None:
    with misbehaving("pass") as pool:
        pool.warm()
        kept = pool._idle[0]
        pool.forget()
        pool.close()
        assert kept.is_alive
        kept.kill()
        assert not kept.is_alive


def test_what_is_killed_leaves_no_folder() -> None:
    one = Worker(PROGRAM)
    folder = Path(one._scratch)
    assert folder.is_dir()
    one.kill()
    assert not folder.exists()


def test_what_the_child_logs_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    body = "import logging; logging.warning('x' * 10**6); raise errors.MediaError('No.')"
    with misbehaving(body) as pool, caplog.at_level(logging.WARNING):
        sentence(pool, "bad", PATIENT)
    assert "in the child: | root: xxx" in caplog.text
    assert len(caplog.text) < 2000
