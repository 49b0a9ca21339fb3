# plain_history PREFIX COMMAND: conda's history without clock and paths.
plain_history() {
	[ ! -e "$1/conda-meta/history" ] || sed -i \
		-e 's/^==> .* <==$/==> 1980-01-01 00:00:00 <==/' \
		-e "s|^# cmd: .*|# cmd: $2|" -e "/^# conda version: /d" "$1/conda-meta/history"
	# Not every conda writes it, and none needs it.
	rm -f "$1/conda-meta/created_at"
}
