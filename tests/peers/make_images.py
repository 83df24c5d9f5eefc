"""Writes tests/data/images.safetensors: small files of every odd kind that ImageNet has, and the pixels that Pillow gives.

    /usr/bin/python3 tests/peers/make_images.py tests/data/images.safetensors

decode/KIND/file, decode/KIND/pixels  a file's bytes, and Image.open(...).convert("RGB")
resize/N/sizes, resize/N/pixels       height, width, box (top, left, height, width), result (height, width); the image is noise(N)
centre/file, centre/pixels            the evaluation's path: shorter side to 32, the middle 28x28
"""
import io
import json
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image


def scene(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([128 + 100 * np.sin(x / 4), 255 * y / height, 128 + 90 * np.cos((x + 2 * y) / 5)], 2).astype(np.uint8)


def noise(count, seed):  # as noise() of tests/data/files.h
    out = np.empty(count, np.uint8)
    for i in range(count):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = seed >> 24
    return out


def saved(image, kind="JPEG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def app14(jpeg):  # where Adobe's marker begins
    return jpeg.index(b"\xff\xee\x00\x0eAdobe")


def png(width, height, depth, colour, rows):  # Pillow writes no colours of 16 bits
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


def kinds():
    rgb = Image.fromarray(scene(13, 19))  # two blocks of halved colours wide
    small = rgb.crop((0, 0, 9, 7))
    cmyk = saved(rgb.convert("CMYK"), quality=90)
    at = app14(cmyk)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "420": saved(rgb, quality=90, subsampling=2, optimize=True),
        "422": saved(rgb, quality=90, subsampling=1, optimize=True),
        "444": saved(rgb, quality=90, subsampling=0, optimize=True),
        "progressive": saved(rgb, quality=90, progressive=True),
        "grey": saved(rgb.convert("L"), quality=90),
        "cmyk": cmyk,
        "ycck": cmyk[:at + 15] + b"\x02" + cmyk[at + 16:],
        "cmyk-unmarked": cmyk[:at] + cmyk[at + 16:],
        "exif-broken": saved(rgb, quality=90, optimize=True, exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01"),
        "exif-turned": saved(rgb, quality=90, optimize=True, exif=turned),
        "one-pixel": saved(rgb.crop((3, 3, 4, 4)), optimize=True),
        "png": saved(small, "PNG"),
        "png-grey": saved(small.convert("L"), "PNG"),
        "png-1-bit": saved(small.convert("1"), "PNG"),
        "png-palette": saved(small.quantize(16), "PNG"),
        "png-palette-transparent": saved(small.quantize(16), "PNG", transparency=2),
        "png-alpha": saved(Image.merge("RGBA", (*small.split(), small.convert("L"))), "PNG"),
        "png-grey-alpha": saved(Image.merge("LA", (small.convert("L"), small.split()[0])), "PNG"),
    }
    expected = {name: np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for name, file in files.items()}
    wide = noise(6 * 5 * 6, 3).reshape(6, 5, 6)  # three colours of two bytes, the higher first
    files["png-16-bit"] = png(5, 6, 16, 2, [row.tobytes() for row in wide])
    expected["png-16-bit"] = np.asarray(Image.open(io.BytesIO(files["png-16-bit"])).convert("RGB"))
    grey = wide[:, :, :2]
    files["png-grey-16-bit"] = png(5, 6, 16, 0, [row.tobytes() for row in grey])
    expected["png-grey-16-bit"] = np.repeat(grey[:, :, :1], 3, 2)  # the higher byte; Pillow would cut all beyond 255 off
    return files, expected


def main(path):
    tensors = {}
    files, expected = kinds()
    for name in files:
        tensors[f"decode/{name}/file"] = np.frombuffer(files[name], np.uint8)
        tensors[f"decode/{name}/pixels"] = expected[name]
    for n, (h, w, t, l, bh, bw, oh, ow) in enumerate([(23, 31, 0, 0, 23, 31, 16, 16), (23, 31, 3, 5, 17, 20, 16, 16), (9, 7, 1, 2, 6, 4, 13, 17),
                                                      (60, 80, 0, 0, 60, 80, 9, 11), (40, 6, 0, 0, 40, 6, 8, 9), (12, 12, 4, 4, 1, 1, 5, 5),
                                                      (10, 14, 0, 0, 10, 14, 10, 14), (1, 90, 0, 0, 1, 90, 3, 30)], 1):
        image = Image.fromarray(noise(h * w * 3, n).reshape(h, w, 3))
        tensors[f"resize/{n}/sizes"] = np.array([h, w, t, l, bh, bw, oh, ow], np.int32)
        tensors[f"resize/{n}/pixels"] = np.asarray(image.resize((ow, oh), Image.BILINEAR, box=(l, t, l + bw, t + bh)))
    file = saved(Image.fromarray(scene(45, 61)), quality=80, subsampling=2, optimize=True)
    whole = Image.open(io.BytesIO(file)).convert("RGB").resize((int(32 * 61 / 45), 32), Image.BILINEAR)
    left, top = round((whole.width - 28) / 2), round((whole.height - 28) / 2)
    tensors["centre/file"] = np.frombuffer(file, np.uint8)
    tensors["centre/pixels"] = np.asarray(whole.crop((left, top, left + 28, top + 28)))

    header, data = {"__metadata__": {"made by": f"Pillow {PIL.__version__}"}}, b""
    for name, values in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        header[name] = {"dtype": {"uint8": "U8", "int32": "I32"}[str(values.dtype)], "shape": values.shape,
                        "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main(sys.argv[1])
