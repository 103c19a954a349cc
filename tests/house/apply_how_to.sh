#!/bin/sh
# Follows a how-to literally:  apply_how_to.sh PAGE SOURCE OUT
# "New file `PATH`:" and a block make OUT/PATH; "In `PATH`, above `LINE`:" and a block copy SOURCE/PATH to
# OUT/PATH with the block before the last line that is LINE. Fails if there is no such line, or nothing to do.
set -eu
page=$1 source=$2 out=$3
rm -rf "$out" && mkdir -p "$out"
awk -v out="$out" '
    function quoted(n,   parts) { split($0, parts, "`"); return parts[2 * n] }
    /^New file `.*`:$/ { path = quoted(1); line = ""; wanted = 1; next }
    /^In `.*`, above `.*`:$/ { path = quoted(1); line = quoted(2); wanted = 1; next }
    /^```/ && inside { inside = 0; close(file); next }
    /^```cpp$/ && wanted {
        inside = 1; wanted = 0; ++count
        file = out "/block" count
        print path "\t" line > (out "/list")
        next
    }
    inside { print > file }
' "$page"
count=0
tab=$(printf '\t')
while IFS="$tab" read -r path line; do
    count=$((count + 1))
    block=$out/block$count
    mkdir -p "$out/$(dirname "$path")"
    if [ -z "$line" ]; then
        cp "$block" "$out/$path"
        continue
    fi
    [ -e "$out/$path" ] || cp "$source/$path" "$out/$path"
    at=$(grep -nxF -- "$line" "$out/$path" | tail -n 1 | cut -d: -f1)
    [ -n "$at" ] || { echo "$page: $path has no line '$line'" >&2; exit 1; }
    { head -n $((at - 1)) "$out/$path"; cat "$block"; tail -n +"$at" "$out/$path"; } > "$out/edited"
    mv "$out/edited" "$out/$path"
done < "$out/list"
rm "$out/list" "$out"/block*
