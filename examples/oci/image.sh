#!/bin/sh
# image.sh writes image.tar, an OCI image archive of one layer (the format of docker save, podman
# save and skopeo): busybox if there is a static one on this machine, else sh, cat, sort and uname
# with the libraries they need. Equal programs give an equal archive.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$work/image/blobs/sha256"

busybox=$(command -v busybox || true)
if [ -n "$busybox" ] && ! ldd "$busybox" > "$work/libs" 2>&1; then
	cp -L "$busybox" "$root/bin/busybox"
	for name in sh cat sort uname; do ln -s busybox "$root/bin/$name"; done
else
	for name in sh cat sort uname; do
		program=$(command -v "$name")
		cp -L "$program" "$root/bin/$name"
		ldd "$program" | grep -o '/[^ ]*' | while read -r lib; do
			mkdir -p "$root$(dirname "$lib")"
			cp -L "$lib" "$root$lib"
		done
	done
fi
echo "made by image.sh" > "$root/etc/motd"

# blob FILE moves FILE among the blobs and prints its descriptor without the media type.
blob() {
	digest=$(sha256sum "$1" | cut -d ' ' -f 1)
	size=$(wc -c < "$1" | tr -d ' ')
	mv "$1" "$work/image/blobs/sha256/$digest"
	printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
pack "$root" "$work/layer"
diff=$(sha256sum "$work/layer" | cut -d ' ' -f 1)
layer=$(blob "$work/layer")
printf '{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$arch" "$diff" > "$work/config"
config=$(blob "$work/config")
media=application/vnd.oci.image
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' \
	$media $media "$config" $media "$layer" > "$work/manifest"
manifest=$(blob "$work/manifest")
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s}]}' $media "$manifest" > "$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' > "$work/image/oci-layout"
pack "$work/image" "${1:-image.tar}"
