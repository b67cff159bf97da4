#!/bin/sh
# All sets on a machine that is lent for minutes, from the root of the checkout:
#
#     sh docs/recipes/lease.sh MINUTES OUT [options of codecs.train]
#
# Before, where the photographs are, pack what has to travel (docs/training.md). Models as they are
# lie in OUT/exports every two minutes, each below 16 MB, finished sets in OUT/published.
set -eu
minutes=$1 out=$2
shift 2
export BENCH_DATA="${BENCH_DATA:-checkpoints/lease}"  # LPIPS backbones
# No virtual environment is needed: `bench` makes the folder codecs/ importable.
exec "${PYTHON:-python3}" -c 'import sys, bench; from codecs import recipe; sys.exit(recipe.main())' \
	${SETS:-minnen-mse minnen rdonet-msssim rdonet} \
	--data checkpoints/lease/train.npy --valid checkpoints/lease/valid.npy \
	--minutes "$minutes" --out "${TMPDIR:-/tmp}/stages" --into "$out/published" \
	--export-minutes 2 --export-to "$out/exports" --batch 32 "$@"
