"""Makes thumbnails of an image, as an image host does for each upload."""

import io

from PIL import Image, ImageFilter

import platform_exit


def main():
    with Image.open("data/image.ppm") as image:
        image.load()
    for width in (320, 160, 64):
        small = image.copy()
        small.thumbnail((width, width), Image.LANCZOS)
        out = io.BytesIO()
        small.filter(ImageFilter.SHARPEN).save(out, "PNG")
        print(small.size, len(out.getvalue()), small.getpixel((3, 3)))


platform_exit.run(main)
