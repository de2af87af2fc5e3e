"""What a file says of how its pictures are shown, held against FFmpeg's own decode; and files whose frames are lost."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CORNERS, MakeVideo, ffmpeg, frame_numbers

from vjepa_demo.errors import DiskError, MediaError
from vjepa_demo.media import containers, inorder
from vjepa_demo.media.boxes import picture_tracks
from vjepa_demo.media.reader import read_clip
from vjepa_demo.options import Sampling
from vjepa_demo.settings import settings

MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0)]
MATRICES.append((0, -1, -1, 0))


def decoded(path: Path, height: int, width: int) -> np.ndarray:
    """All frames as FFmpeg's program shows them, uint8 `[T, 3, H, W]`."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-fps_mode", "passthrough", "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, timeout=60, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3).transpose(0, 3, 1, 2)


def patched(path: Path, target: Path, box: bytes, at: int, data: bytes) -> Path:
    """A copy of a movie in which these bytes stand so many bytes after the name of its first box of that name."""
    movie = bytearray(path.read_bytes())
    begin = movie.index(box) + 4 + at
    movie[begin : begin + len(data)] = data
    target.write_bytes(movie)
    return target


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_all_eight_matrices(make_video: MakeVideo, tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = (65536 * value for value in matrix)
    flat = make_video(picture=CORNERS, size="96x64", pixels="yuv444p")
    path = patched(flat, tmp_path / "m.mp4", b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    clip = read_clip(path, Sampling(2))
    shown = decoded(path, *clip.frames.shape[2:])
    assert np.abs(clip.frames[0].astype(int) - shown[0]).max() <= 3
    (track,) = picture_tracks(path)
    assert track.mirrored == (np.linalg.det(np.reshape(matrix, (2, 2))) < 0)
    others = [np.abs(turned.astype(int) - shown[0]).max() for turned in (shown[0][:, ::-1], shown[0][:, :, ::-1])]
    assert min(others) > 100, "a mirror would show"


def test_a_mirror_of_the_whole_movie_counts_as_well(make_video: MakeVideo, tmp_path: Path) -> None:
    flat = make_video(picture=CORNERS, size="96x64", pixels="yuv444p")
    matrix = struct.pack(">9i", -65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    whole = patched(flat, tmp_path / "whole.mp4", b"mvhd", 36, matrix)
    assert [track.mirrored for track in picture_tracks(whole)] == [True]
    both = patched(whole, tmp_path / "both.mp4", b"tkhd", 40, matrix)
    assert [track.mirrored for track in picture_tracks(both)] == [False]


# --- edits -----------------------------------------------------------------------------------------------------------


def edited(path: Path, target: Path, pieces: Sequence[tuple[float, float]]) -> Path:
    """A copy of a movie (its index last) of which these pieces, (begin, seconds), are shown one after the other."""
    movie = bytearray(path.read_bytes())
    assert movie.index(b"mdat") < movie.index(b"moov")

    def number(box: bytes, at: int) -> int:
        return int.from_bytes(movie[movie.index(box) + 4 + at :][:4], "big")

    ticks, own_ticks, first = number(b"mvhd", 12), number(b"mdhd", 12), number(b"elst", 12)
    entries = [struct.pack(">IiI", round(s * ticks), round(b * own_ticks) + first, 65536) for b, s in pieces]
    at = movie.index(b"elst") - 4
    before = int.from_bytes(movie[at : at + 4], "big")
    box = b"elst" + bytes(4) + struct.pack(">I", len(pieces)) + b"".join(entries)
    movie[at : at + before] = struct.pack(">I", len(box) + 4) + box
    for outer in (b"edts", b"trak", b"moov"):
        place = movie.index(outer) - 4
        length = int.from_bytes(movie[place : place + 4], "big") + len(box) + 4 - before
        movie[place : place + 4] = struct.pack(">I", length)
    target.write_bytes(movie)
    return target


EDITS = [
    [(0.0, 0.5), (1.35, 0.7)],
    [(0.25, 0.5), (2.0, 0.5)],
    [(1.5, 0.5), (0.25, 0.5)],  # the later piece first
    [(0.5, 0.3), (1.1, 0.3), (1.75, 0.4)],
]


@pytest.mark.parametrize("gop", ["20", "250"])
@pytest.mark.parametrize("pieces", EDITS, ids=str)
def test_pieces_that_begin_between_key_frames(make_video: MakeVideo, tmp_path: Path, pieces, gop: str) -> None:
    path = make_video(fps=20, frames=60, options=("-g", gop, "-bf", "2", "-sc_threshold", "0"))
    clip = read_clip(edited(path, tmp_path / "edited.mp4", pieces), Sampling(16))
    truth = frame_numbers(decoded(tmp_path / "edited.mp4", 64, 64))
    found, times = frame_numbers(clip.frames), clip.timestamps
    assert (np.diff(times) >= 0).all()
    # FFmpeg shows the frames at an even pace from 0: the one at each moment, or the one beside it.
    places = [truth.index(number) for number in found]
    asked = (np.arange(16) + 0.5) / 16 * len(truth)
    assert np.abs(np.array(places) + 0.5 - asked).max() <= 1.5, (found, truth)


def test_pieces_that_begin_at_key_frames_need_no_other_way(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(fps=20, frames=60, options=("-g", "20", "-bf", "2", "-sc_threshold", "0"))
    clip = read_clip(edited(path, tmp_path / "edited.mp4", [(0.0, 1.0), (2.0, 1.0)]), Sampling(20))
    assert frame_numbers(clip.frames) == [*range(1, 20, 2), *range(41, 60, 2)]
    assert clip.notes == ()


# --- frames that are lost --------------------------------------------------------------------------------------------


def test_a_size_that_changes_midway(make_video: MakeVideo, tmp_path: Path) -> None:
    wide = make_video("a.webm", "libvpx", size="128x64", fps=20, frames=20)
    high = make_video("b.webm", "libvpx", size="64x128", fps=20, frames=20)
    (tmp_path / "list").write_text(f"file {wide}\nfile {high}\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list", "-c", "copy", tmp_path / "both.webm")
    clip = read_clip(tmp_path / "both.webm", Sampling(40))
    assert clip.frames.shape[2:] == (64, 128)
    assert frame_numbers(clip.frames) == [*range(20), *range(20)]
    assert "size changes" in clip.notes[-1]


def hole(path: Path, target: Path, number: int) -> Path:
    """A copy of a video whose packet of this number is zeros."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pos,size", "-of", "csv=p=0"]
    lines = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    size, begin = (int(value) for value in lines[number].strip(",").split(","))
    data = bytearray(path.read_bytes())
    data[begin : begin + size] = bytes(size)
    target.write_bytes(data)
    return target


def test_a_bad_packet_costs_its_own_frames(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(fps=20, frames=80, options=("-g", "20", "-bf", "0", "-sc_threshold", "0"))
    clip = read_clip(hole(path, tmp_path / "hole.mp4", 50), Sampling(16))
    found = frame_numbers(clip.frames)
    whole = frame_numbers(read_clip(path, Sampling(16)).frames)
    same = [place for place, (one, other) in enumerate(zip(found, whole, strict=True)) if one == other]
    assert len(same) >= 13, (found, whole)
    assert set(range(10)) <= set(same), "what comes before it is whole"
    assert "damaged or missing" in clip.notes[-1]


def test_frames_lie_where_they_lay_when_the_span_is_a_part(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(fps=20, frames=80, options=("-g", "250", "-bf", "0", "-sc_threshold", "0"))
    clip = read_clip(hole(path, tmp_path / "hole.mp4", 10), Sampling(16, start=2.0, end=2.8))
    np.testing.assert_allclose(clip.timestamps, np.arange(40, 56) / 20, atol=2e-3)
    assert clip.source.frame_count == pytest.approx(80, abs=3)
    assert clip.source.duration == pytest.approx(4, abs=0.01)


def test_a_deadline_is_told_as_one(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(fps=20, frames=80, options=("-g", "20", "-bf", "0", "-sc_threshold", "0"))
    with pytest.raises(MediaError, match="takes longer than"):
        read_clip(hole(path, tmp_path / "hole.mp4", 50), Sampling(16), replace(settings, decode_seconds=0.001))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_no_fault_of_the_video(make_video: MakeVideo) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(make_video()), "-f", "rawvideo", "/dev/full"]
    with pytest.raises(DiskError, match="full"):
        containers.check_room(subprocess.run(command, capture_output=True, timeout=60, check=False).stderr)


def test_of_a_video_cut_short_what_is_there_is_read_and_told(make_video: MakeVideo, tmp_path: Path) -> None:
    noise = ("noise=alls=40:allf=t",)
    path = make_video(size="320x240", frames=64, fps=25, filters=noise, options=("-g", "8", "-movflags", "+faststart"))
    (tmp_path / "half.mp4").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(tmp_path / "half.mp4", Sampling(16))
    numbers = frame_numbers(clip.frames)
    assert numbers == sorted(numbers)
    assert numbers[0] < 3
    assert 16 < numbers[-1] < 60
    assert "damaged or missing" in clip.notes[-1]


def test_without_the_program_the_message_says_what_is_the_matter(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(fps=20, frames=80, options=("-g", "20", "-bf", "0", "-sc_threshold", "0"))
    monkeypatch.setattr(inorder.shutil, "which", lambda name: None)
    with pytest.raises(MediaError, match="breaks off or is damaged"):
        read_clip(hole(path, tmp_path / "hole.mp4", 50), Sampling(16))


# --- what a video is -------------------------------------------------------------------------------------------------

KINDS = [
    ("a.wmv", "wmv2", ()),
    ("a.mxf", "mpeg2video", ("-r", "25")),
    ("a.ivf", "libvpx", ()),
    ("a.nut", "ffv1", ()),
    ("a.y4m", "wrapped_avframe", ()),
    ("a.ogv", "libtheora", ("-q:v", "10")),
    ("a.vob", "mpeg2video", ("-q:v", "2", "-r", "25")),
    ("a.m2v", "mpeg2video", ("-q:v", "2", "-r", "25")),
    ("a.264", "libx264", ()),
    ("a.hevc", "libx265", ("-x265-params", "log-level=none")),
    ("a.m2ts", "libx264", ("-f", "mpegts", "-mpegts_m2ts_mode", "1")),
]


@pytest.mark.parametrize(("name", "codec", "options"), KINDS, ids=[name for name, _, _ in KINDS])
def test_what_ffmpeg_reads_is_read(make_video: MakeVideo, name: str, codec: str, options: tuple[str, ...]) -> None:
    clip = read_clip(make_video(name, codec, fps=25, frames=50, options=options), Sampling(10))
    assert np.abs(np.array(frame_numbers(clip.frames)) - np.arange(2, 50, 5)).max() <= 1


def test_a_recording_that_begins_in_the_midst_of_a_packet(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video("clip.ts", fps=25, frames=40)
    rest = np.random.default_rng(0).integers(0, 256, 100, np.uint8).tobytes()
    (tmp_path / "capture.ts").write_bytes(rest + whole.read_bytes())
    assert frame_numbers(read_clip(tmp_path / "capture.ts", Sampling(40)).frames) == list(range(40))


@pytest.mark.parametrize("box", [b"uuid" + bytes(16), b"stypmsdh" + bytes(4), b"prft" + bytes(20), b"pdin" + bytes(8)])
def test_movies_that_begin_with_another_box(make_video: MakeVideo, tmp_path: Path, box: bytes) -> None:
    fragmented = make_video(fps=25, frames=40, options=("-movflags", "+frag_keyframe+empty_moov+default_base_moof"))
    (tmp_path / "odd.mp4").write_bytes(struct.pack(">I", len(box) + 4) + box + fragmented.read_bytes())
    assert frame_numbers(read_clip(tmp_path / "odd.mp4", Sampling(40)).frames) == list(range(40))


@pytest.mark.parametrize("begin", [b"\x1a\x45\xdf\xa3", b"DKIF", b"YUV4MPEG2 ", b"OggS", b"FLV\x01", b"\x00\x00\x01"])
def test_no_playlist_passes_for_a_video(tmp_path: Path, begin: bytes) -> None:
    """FFmpeg looks for a playlist's words anywhere in what comes before the first zero."""
    words = b'\x01<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
    for gap in (0, 500, 5000, 200_000):
        (tmp_path / "list").write_bytes(begin.rstrip(b"\0") + b"x" * gap + words)
        with pytest.raises(MediaError):
            read_clip(tmp_path / "list")


# --- codecs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "words"),
    [(b"brxq", "codec that cannot be read here .*brxq.*H.264"), (b"encv", "encrypted"), (b"drmi", "encrypted")],
)
def test_the_message_names_the_codec(make_video: MakeVideo, tmp_path: Path, tag: bytes, words: str) -> None:
    movie = make_video().read_bytes().replace(b"avc1\0\0\0\0", tag + bytes(4)).replace(b"avcC", b"xxxC")
    (tmp_path / "clip.mp4").write_bytes(movie)
    with pytest.raises(MediaError, match=words):
        read_clip(tmp_path / "clip.mp4")


UNKNOWN = [
    ("clip.mkv", "libx264", b"V_MPEG4/ISO/AVC", b"V_MPEGI/ISO/VVC", ""),
    ("clip.avi", "mpeg4", b"FMP4", b"XQ9Z", "XQ9Z"),
    ("clip.mov", "mjpeg", b"jpeg", b"apcX", "apcX"),
]


@pytest.mark.parametrize(("name", "codec", "tag", "other", "told"), UNKNOWN, ids=[case[0] for case in UNKNOWN])
def test_a_codec_without_a_decoder_in_other_containers(
    make_video: MakeVideo, tmp_path: Path, name: str, codec: str, tag: bytes, other: bytes, told: str
) -> None:
    data = make_video(name, codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p").read_bytes()
    assert tag in data
    (tmp_path / name).write_bytes(data.replace(tag, other))
    with pytest.raises(MediaError, match=f"codec that cannot be read here.*{told}.*H.264"):
        read_clip(tmp_path / name)


@pytest.mark.parametrize("name", ["sound.mkv", "sound.avi", "sound.ts", "sound.mp4", "sound.ogg", "sound.wma"])
def test_sound_alone_is_told(tmp_path: Path, name: str) -> None:
    codec = ("-c:a", "flac") if name.endswith("ogg") else ()
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", *codec, tmp_path / name)
    with pytest.raises(MediaError, match="holds sound and no pictures"):
        read_clip(tmp_path / name)


def test_without_the_program_that_looks_the_message_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", tmp_path / "sound.mkv")
    monkeypatch.setattr(containers.shutil, "which", lambda name: None)
    with pytest.raises(MediaError, match="sound but no pictures, or pictures in a codec"):
        read_clip(tmp_path / "sound.mkv")


@pytest.mark.parametrize("packet", [188, 192])
def test_scrambled_television(make_video: MakeVideo, tmp_path: Path, packet: int) -> None:
    options = ("-f", "mpegts", "-mpegts_m2ts_mode", "1") if packet == 192 else ()
    clear = make_video("clip.ts", size="320x240", frames=32, filters=("noise=alls=40:allf=t",), options=options)
    data = np.frombuffer(clear.read_bytes(), np.uint8).reshape(-1, packet).copy()
    head = packet - 188
    stream = (data[:, head + 1].astype(int) & 0x1F) << 8 | data[:, head + 2]
    picture = stream == np.bincount(stream).argmax()
    assert picture.sum() > 100
    data[picture, head + 3] |= 0x80
    noise = np.random.default_rng(0).integers(0, 256, (picture.sum(), 188 - 12), np.uint8)
    data[picture, head + 12 :] = noise
    (tmp_path / "scrambled.ts").write_bytes(data.tobytes())
    with pytest.raises(MediaError, match="encrypted"):
        read_clip(tmp_path / "scrambled.ts")


def test_an_encrypted_movie(make_video: MakeVideo, tmp_path: Path) -> None:
    key = ("-encryption_key", "00112233445566778899aabbccddeeff", "-encryption_kid", "0123456789abcdef0123456789abcdef")
    ffmpeg("-i", make_video(), "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", *key, tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match="encrypted"):
        read_clip(tmp_path / "clip.mp4")


def element(name: str, *parts: bytes) -> bytes:
    """An element of Matroska (RFC 9559), its name in hexadecimal."""
    body = b"".join(parts)
    size = len(body)
    return bytes.fromhex(name) + (bytes([0x80 | size]) if size < 127 else struct.pack(">H", 0x4000 | size)) + body


@pytest.mark.parametrize("void", [0, 5000])  # as mkvmerge leaves it before the tracks
@pytest.mark.parametrize("codec", [b"V_VP9", b"V_MPEG4/ISO/AVC"])
def test_an_encrypted_webm(tmp_path: Path, codec: bytes, void: int) -> None:
    """WebM Encryption: an element of the track, and each frame begins with a byte that says so and its vector."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 300), np.uint8)
    key = element("5035", element("47e1", b"\x05"), element("47e2", bytes(16)))
    coding = element(
        "6d80", element("6240", element("5031", b"\0"), element("5032", b"\1"), element("5033", b"\1"), key)
    )
    size = element("e0", element("b0", b"\x40"), element("ba", b"\x40"))
    track = element("ae", *(element(name, b"\1") for name in ("d7", "73c5", "83")), element("86", codec), size, coding)
    blocks = [
        element("a3", b"\x81", struct.pack(">H", 40 * n), b"\x80\1" + row.tobytes()) for n, row in enumerate(noise)
    ]
    cluster = element("1f43b675", element("e7", b"\0"), *blocks)
    told = element("1549a966", element("2ad7b1", (10**6).to_bytes(3, "big"))) + element("ec", bytes(void))
    begin = element("1a45dfa3", element("4282", b"webm"), element("4287", b"\4"), element("4285", b"\2"))
    (tmp_path / "clip.webm").write_bytes(begin + element("18538067", told, element("1654ae6b", track), cluster))
    with pytest.raises(MediaError, match="encrypted"):
        read_clip(tmp_path / "clip.webm")


def test_a_scrambled_dvd(make_video: MakeVideo, tmp_path: Path) -> None:
    """About half of its sectors, beyond their first 128 bytes, and none of the first ones; FFmpeg decodes them all."""
    options = ("-q:v", "3", "-f", "dvd")
    clear = make_video(
        "a.vob", "mpeg2video", size="320x240", fps=25, filters=("noise=alls=40:allf=t",), options=options
    )
    assert frame_numbers(read_clip(clear, Sampling(16)).frames) == list(range(16))
    data = np.frombuffer(clear.read_bytes(), np.uint8).reshape(-1, 2048).copy()
    pictures = np.flatnonzero((data[:, 14:18] == (0, 0, 1, 0xE0)).all(axis=1))[8::2]
    assert len(pictures) > 50
    data[pictures, 20] |= 0x10
    data[pictures, 128:] = np.random.default_rng(0).integers(0, 256, (len(pictures), 2048 - 128), np.uint8)
    (tmp_path / "scrambled.vob").write_bytes(data.tobytes())
    with pytest.raises(MediaError, match="encrypted"):
        read_clip(tmp_path / "scrambled.vob")


@pytest.mark.parametrize(("transfer", "light"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", "")])
def test_hdr_is_told(make_video: MakeVideo, transfer: str, light: str) -> None:
    colours = f"log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    clip = read_clip(make_video("hdr.mp4", "libx265", pixels="yuv420p10le", options=("-x265-params", colours)))
    assert [f"HDR ({light})" in note for note in clip.notes] == ([True] if light else [])


@pytest.mark.parametrize(("profile", "told"), [(5, True), (8, False)])
def test_dolby_vision_without_a_base_is_told(make_video: MakeVideo, tmp_path: Path, profile: int, told: bool) -> None:
    path = make_video("hdr.mp4", "libx265", pixels="yuv420p10le", options=("-x265-params", "log-level=none"))
    movie = path.read_bytes()
    assert b"btrt" in movie
    # In the place of another box of the sample entry; its bit rates become version 1.0, profile and level.
    record = b"dvcC" + bytes([1, 0, profile << 1, 0x35])
    at = movie.index(b"btrt")
    (tmp_path / "dolby.mp4").write_bytes(movie[:at] + record + movie[at + len(record) :])
    notes = read_clip(tmp_path / "dolby.mp4", Sampling(2)).notes
    assert [note for note in notes if "Dolby Vision (profile 5)" in note] == list(notes)
    assert bool(notes) == told


def test_odd_boxes_tell_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    odd = [b"", b"\0" * 100, b"\0\0\0\1moov" + b"\xff" * 8, struct.pack(">I", 8) + b"moov", b"\xff" * 64]
    for data in (*odd, *(b"\0\0\0\x40moov" + rng.integers(0, 256, 56, np.uint8).tobytes() for _ in range(50))):
        (tmp_path / "odd").write_bytes(data)
        assert picture_tracks(tmp_path / "odd") == []


# --- tracks beside the one that is shown -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cover.mp4", "cover.mkv", "timecode.mov", "second.mkv"])
def test_covers_timecodes_and_other_tracks_are_not_the_video(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    film, cover = make_video(), tmp_path / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=300x300", "-frames:v", "1", cover)
    made = {
        "cover.mp4": (
            *("-i", cover, "-i", film, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic"),
        ),
        "cover.mkv": ("-i", film, "-attach", cover, "-metadata:s:t", "mimetype=image/jpeg", "-c", "copy"),
        "timecode.mov": ("-i", film, "-c", "copy", "-timecode", "01:00:00:00"),
        "second.mkv": (
            *("-i", make_video(picture=CORNERS, size="96x64"), "-i", film, "-map", "0", "-map", "1", "-c", "copy"),
            *("-disposition:v:0", "0", "-disposition:v:1", "default"),
        ),
    }[name]
    ffmpeg(*made, tmp_path / name)
    clip = read_clip(tmp_path / name, Sampling(16))
    assert frame_numbers(clip.frames) == list(range(16))
    assert clip.frames.shape[2:] == (64, 64)
