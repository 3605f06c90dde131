#!/bin/sh
# One of the encoders of a film for a line of RATE kbit/s, whose player can hold BUFFER kbit. Its chunk,
# in.mkv, has its share of the line, and what the chunks before it left of theirs: so it needs to hear
# from its neighbour, which needs to hear from its own. The steps, which leave files to each other:
#
#	look CRF                     first pass: what the chunk would take at that quality
#	share SECONDS RATE BUFFER    what it gets, and what it leaves to the next
#	encode SECONDS               second pass, with what it gets
#
# "neighbours CRF SECONDS RATE BUFFER" is all three, with the others of a gang by TCP. Both passes are
# long and need nobody; only the second waits, for a number that runs from the first encoder to the last.
set -eu

x264() {
	ffmpeg -nostdin -v error -y -i in.mkv -c:v libx264 -preset medium -threads 1 -map_metadata -1 \
		-fflags +bitexact -flags:v +bitexact -passlogfile look "$@"
}

look() {
	x264 -crf "$1" -pass 1 look.mkv
	echo $(($(wc -c < look.mkv) * 8 / 1000)) > want # in kbit
}

share() {
	left=$(cat left)
	case $left in '' | *[!0-9]*) echo "encoder.sh: the neighbour before left '$left', not a number" >&2; exit 1 ;; esac
	have=$((left + $1 * $2))
	[ $have -le "$3" ] || have=$3
	gets=$(cat want)
	[ "$gets" -le $have ] || gets=$have
	echo "$gets" > gets
	echo $((have - gets)) > leaves
}

encode() { x264 -b:v "$(($(cat gets) * 1000 / $1))" -pass 2 out.mkv; }

neighbours() {
	if [ "$GAGGLE_INDEX" = 0 ]; then echo 0 > left & else nc -dl 7000 > left & fi
	heard=$!
	look "$1"
	wait $heard
	share "$2" "$3" "$4"
	next=$((GAGGLE_INDEX + 1)) tries=0
	if [ $next -lt "$GAGGLE_COUNT" ]; then
		until nc -N encode-$next 7000 < leaves; do # it may not listen yet
			[ $((tries += 1)) -lt 100 ] || exit 1
			sleep 0.1
		done
	fi
	encode "$2"
}

"$@"
