"""Videos in any container, turned or mirrored, animated images, and files whose end is missing."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from hf_handdiff.errors import InputError
from hf_handdiff.image_formats import readable_formats
from hf_handdiff.video.reading import VideoReader, holds_pictures
from hf_handdiff.video.writing import VideoWriter

av = pytest.importorskip("av")

COUNT, WIDTH, HEIGHT = 24, 64, 48
CONTAINERS = {  # FFmpeg's format and codec by the suffix
    ".3gp": ("3gp", "mpeg4"),
    ".avi": ("avi", "mpeg4"),
    ".flv": ("flv", "flv"),
    ".mkv": ("matroska", "mpeg4"),
    ".mov": ("mov", "mpeg4"),
    ".mpg": ("mpeg", "mpeg2video"),
    ".mts": ("mpegts", "mpeg2video"),
    ".ts": ("mpegts", "mpeg4"),
    ".wmv": ("asf", "wmv2"),
    ".mp4": ("mp4", "mpeg4"),
}


def pictures(count=COUNT):
    blocks = np.random.default_rng(0).integers(0, 255, (count, HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((1, 16, 16, 1), np.uint8))


def write(path, kind, codec, **options):
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for pixels in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def read(path):
    with VideoReader(path) as reader:
        return list(reader), reader


def is_like(pixels, expected):
    return pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_any_container_is_read_by_any_name(tmp_path, suffix):
    path = write(tmp_path / f"clip{suffix}", *CONTAINERS[suffix])
    if suffix != ".mpg":  # FFmpeg is not sure of a short one
        path = path.rename(tmp_path / "clip.jpg")
    assert holds_pictures(path)
    frames, reader = read(path)
    assert len(frames) == COUNT and reader.damage is None
    assert all(is_like(frame.pixels, picture) for frame, picture in zip(frames, pictures(), strict=True))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animated_images_are_videos(tmp_path, kind):
    if kind not in readable_formats():
        pytest.skip("not read here")
    first, *others = map(Image.fromarray, pictures(5))
    first.save(tmp_path / "moves", kind, save_all=True, append_images=others, duration=40)
    frames, reader = read(tmp_path / "moves")
    assert reader.rate == 25 and reader.num_frames == 5 and reader.damage is None
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(5) / 25, atol=1e-6)
    for frame, picture in zip(frames, pictures(5), strict=True):
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 20


def test_transparent_parts_of_an_animation_lie_on_white(tmp_path):
    pixels = np.zeros((2, 20, 30, 4), np.uint8)
    pixels[0, :, :10], pixels[1, :, 20:] = (255, 0, 0, 255), (0, 0, 255, 255)
    first, second = map(Image.fromarray, pixels)
    first.save(tmp_path / "moves.png", save_all=True, append_images=[second], blend=0)
    colours = [frame.pixels[10, (5, 15, 25)].tolist() for frame in read(tmp_path / "moves.png")[0]]
    white = [255, 255, 255]
    assert colours == [[[255, 0, 0], white, white], [white, white, [0, 0, 255]]]


def with_matrix(path, a, b, c, d):
    """Write into an MP4 file how its pictures are to be shown: x' = a x + c y, y' = b x + d y."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    assert struct.unpack(">9i", data[place : place + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[place : place + 36] = struct.pack(">9i", *(value << 16 for value in (a, b, 0, c, d, 0, 0, 0, 1 << 14)))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    {
        (-1, 0, 0, -1): lambda pixels: pixels[::-1, ::-1],
        (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),
        (0, -1, 1, 0): np.rot90,
        (-1, 0, 0, 1): np.fliplr,
        (1, 0, 0, -1): np.flipud,
        (0, 1, 1, 0): lambda pixels: pixels.transpose(1, 0, 2),
        (0, -1, -1, 0): lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    }.items(),
)
def test_pictures_are_turned_and_mirrored_as_the_file_says(tmp_path, matrix, shown):
    path = write(tmp_path / "clip.mp4", "mp4", "mpeg4")
    with_matrix(path, *matrix)
    frames, _ = read(path)
    assert is_like(frames[0].pixels, shown(pictures()[0])) and frames[0].pixels.flags.c_contiguous


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def test_of_a_cut_file_the_frames_before_the_damage_are_given(tmp_path):
    path = cut(write(tmp_path / "clip.mp4", "mp4", "mpeg4", movflags="faststart"), 0.6)
    frames, reader = read(path)
    assert COUNT // 3 < len(frames) < COUNT
    assert all(is_like(frame.pixels, picture) for frame, picture in zip(frames[:-1], pictures(), strict=False))
    assert all(frame.time_s == pytest.approx(frame.number / 25, abs=1e-3) for frame in frames)
    assert reader.damage.endswith(f"the file is cut off; frames that could be read: {len(frames)}")


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_that_the_decoder_still_holds_come_before_the_damage(tmp_path, codec):
    if codec not in av.codecs_available:
        pytest.skip("not in this FFmpeg")
    path = write(tmp_path / "clip.mp4", "mp4", codec, movflags="faststart")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.pos + packet.size) for packet in packets]
    end = places[len(places) // 2][1]
    path.write_bytes(path.read_bytes()[: end + 5])
    assert len(read(path)[0]) >= sum(stop <= end for _, stop in places)


@pytest.mark.parametrize(("suffix", "share"), [(".avi", 0.7), (".mkv", 0.3), (".flv", 0.3)])
def test_a_cut_that_only_the_header_tells_is_said(tmp_path, suffix, share):
    frames, reader = read(cut(write(tmp_path / f"clip{suffix}", *CONTAINERS[suffix]), share))
    assert 0 < len(frames) < COUNT and ("is missing: it says" in reader.damage or "is damaged" in reader.damage)


def test_a_cut_animation(tmp_path):
    first, *others = map(Image.fromarray, np.random.default_rng(0).integers(0, 255, (5, 40, 50, 3), dtype=np.uint8))
    first.save(tmp_path / "moves.gif", save_all=True, append_images=others)
    frames, reader = read(cut(tmp_path / "moves.gif", 0.5))
    assert 0 < len(frames) < 5 and "damaged (image file is truncated" in reader.damage


def test_an_mp4_file_without_its_index_says_that(tmp_path):
    path = cut(write(tmp_path / "clip.mp4", "mp4", "mpeg4"), 0.6)
    with pytest.raises(InputError, match="is not a video that can be read .its index, which lies at the end"):
        VideoReader(path)


def test_a_recording_that_begins_between_two_pictures_is_read(tmp_path):
    whole = write(tmp_path / "clip.ts", "mpegts", "mpeg2video").read_bytes()
    (tmp_path / "late.ts").write_bytes(whole[188 * (len(whole) // 188 // 3) :])
    frames, _ = read(tmp_path / "late.ts")
    assert 0 < len(frames) < COUNT


def test_what_holds_no_moving_pictures(tmp_path):
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(100_000))
    (tmp_path / "text").write_text("no video")
    for name in ("sound.m4a", "noise", "text"):
        assert not holds_pictures(tmp_path / name)


def test_photos_that_ffmpeg_takes_for_videos(tmp_path):
    if "AVIF" not in readable_formats():
        pytest.skip("not read here")
    first, *others = map(Image.fromarray, pictures(3))
    first.save(tmp_path / "moves.avif", save_all=True, append_images=others)
    with pytest.raises(InputError, match="damaged AVIF"):
        VideoReader(cut(tmp_path / "moves.avif", 0.7))


def test_a_rate_that_cannot_be_is_not_believed(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer:
        for number, pixels in enumerate(pictures(4)):
            writer.write(pixels, number * 1e-4)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert reader.rate <= 1000
