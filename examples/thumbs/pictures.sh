#!/bin/sh
# pictures.sh N draws N pictures, picture-1.jpg and so on.
set -eu
i=1
while [ "$i" -le "${1:-10}" ]; do
	convert -size 1200x800 -seed "$i" plasma:fractal "picture-$i.jpg"
	i=$((i + 1))
done
