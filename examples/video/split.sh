#!/bin/sh
# split.sh SECONDS cuts film.mkv at key frames, without decoding it, to chunks/0.mkv and so on.
set -eu
mkdir chunks
ffmpeg -nostdin -v error -i film.mkv -c copy -f segment -segment_time "$1" -reset_timestamps 1 \
	-fflags +bitexact chunks/%d.mkv
