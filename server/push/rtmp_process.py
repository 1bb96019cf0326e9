"""``python -m server.push.rtmp_process``: passes FLV from standard input on to an RTMP server.

A process of its own, because FFmpeg connects while it holds Python's lock, which would stop the
server's loop. The first line of input is the address, which nobody else may see. ``live`` is
printed once the server takes the stream; the exit status is 1, with one line, when it ends.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import av

SILENT_S: Final = 10.0  # without progress on the connection
LIVE: Final = b"live\n"


def address() -> str:
    """The first line, read to its end and no further."""
    line = b""
    while (letter := os.read(0, 1)) not in (b"\n", b""):
        line += letter
    return line.decode()


def main() -> int:
    """Until either side ends."""
    url = address()
    try:
        with (
            av.open("pipe:0", format="flv") as reading,
            av.open(url, "w", format="flv", timeout=SILENT_S) as writing,
        ):
            streams = {s.index: writing.add_stream_from_template(s) for s in reading.streams}
            writing.start_encoding()
            os.write(1, LIVE)
            for packet in reading.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    writing.mux(packet)
    except (av.FFmpegError, OSError) as failure:
        sys.stderr.write(f"{failure.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
