#!/bin/sh
# join.sh N puts the chunks parts/0 to parts/N-1 together to film.mp4.
set -eu
i=0
while [ $i -lt "$1" ]; do
	echo "file 'parts/$i'"
	i=$((i + 1))
done > list
ffmpeg -nostdin -v error -f concat -safe 0 -i list -c copy -fflags +bitexact film.mp4
