#!/usr/bin/env bash
# Walks through the example by itself and says at each step what was expected and
# what is seen. It needs Docker and docker-compose, or docker compose:
#
#	make image && examples/geo/walk.sh
#
# KEEP=1 leaves the regions running; CUT=5 cuts one off for 5 s rather than a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly cut_for=${CUT:-60}
# Names of its own, and any ports that are free, let it run beside other regions.
export COMPOSE_PROJECT_NAME=geo-walk-$$ GEO_PREFIX=walk-$$-
export GEO_EU_PORT='' GEO_US_PORT='' GEO_AP_PORT=''
readonly project=$COMPOSE_PROJECT_NAME prefix=$GEO_PREFIX
failed=0

compose() {
	if docker compose version >/dev/null 2>&1; then
		docker compose -f docker-compose.yml "$@"
	else
		docker-compose -f docker-compose.yml "$@"
	fi
}

# at MEMBER ARGS... runs crdtctl beside a member.
at() { docker exec "$prefix$1" crdtctl "${@:2}"; }

step() { printf '\n%s\n' "$*"; }

# see WHAT EXPECTED SEEN compares, and goes on after a difference.
see() {
	if [[ $3 == "$2" ]]; then
		printf '  ok    %-44s %s\n' "$1" "$3"
	else
		printf '  WRONG %-44s %s, expected %s\n' "$1" "$3" "$2"
		failed=1
	fi
}

# until SECONDS COMMAND... waits until a command succeeds, and prints how long it took.
until_true() {
	local begin=$EPOCHREALTIME limit=$1
	shift
	until "$@" >/dev/null 2>&1; do
		if (($(elapsed "$begin") > limit * 1000)); then
			echo never
			return
		fi
		sleep 0.1
	done
	elapsed "$begin"
}

elapsed() { echo $(((${EPOCHREALTIME//[.,]/} - ${1//[.,]/}) / 1000)); }

within() { # WHAT SECONDS COMMAND...
	local took
	took=$(until_true "${@:2}")
	if [[ $took == never ]]; then
		printf '  WRONG %-44s not within %d s\n' "$1" "$2"
		failed=1
	else
		printf '  ok    %-44s after %d.%03d s\n' "$1" $((took / 1000)) $((took % 1000))
	fi
}

value_is() { [[ $(at "$1" counter get "$2") == "$3" ]]; }

between() { docker network "$1" "${@:2}"; }

tidy() {
	if [[ -z ${KEEP-} ]]; then
		compose --profile load down --volumes >/dev/null 2>&1 || true
	else
		printf '\nthe members are %seu-1 and so on; docker exec %seu-1 crdtctl members\n' "$prefix" "$prefix"
		printf 'remove them: GEO_PREFIX=%s docker-compose -p %s -f %s/docker-compose.yml --profile load down --volumes\n' "$prefix" "$project" "$PWD"
	fi
}
trap tidy EXIT

docker image inspect "${ATOLL_IMAGE:-atoll:dev}" >/dev/null 2>&1 || {
	echo "there is no image ${ATOLL_IMAGE:-atoll:dev}; make image builds it" >&2
	exit 1
}

step 'Three regions of two members start.'
compose up -d >/dev/null 2>&1 || { echo "docker-compose up fails; see: docker-compose -f $PWD/docker-compose.yml up" >&2; exit 1; }
within 'all agree' 60 at us-1 verify --wait 1s
six_alive() { [[ $(at eu-1 members --json | grep -o '"state":"alive"' | wc -l) == 6 ]]; }
within 'six members are alive' 10 six_alive

step 'One region writes, another one reads.'
see 'incr in eu' 1 "$(at eu-1 counter incr hits)"
within 'it is in ap' 10 value_is ap-2 hits 1
at us-2 set add fruit apple pear >/dev/null
within 'a set of us is in eu' 10 at eu-2 set has fruit pear

step 'Who has no key does not get in; a user does what it may.'
code() { local status=0; "$@" >/dev/null 2>&1 || status=$?; echo $status; }
see 'without a key: exit code' 2 "$(code at eu-1 --key "" counter get hits)"
see 'without TLS: exit code' 2 "$(code at eu-1 --ca "" counter get hits)"
at eu-1 user set shop --role write --prefix shop: >/dev/null
keys=$(mktemp -d)
at eu-1 user key shop - >"$keys/shop.key"
docker cp "$prefix"eu-1:/etc/atoll/ca.crt "$keys/ca.crt" >/dev/null
port=$(docker port "$prefix"us-1 4222 | head -1)
shop() { ../../bin/image/crdtctl --server "$port" --ca "$keys/ca.crt" --key "$keys/shop.key" "$@"; }
within 'us knows the user that eu was told of' 10 shop counter incr shop:visits
see 'another key of the store: exit code' 2 "$(code shop counter get hits)"
see 'a backup: exit code' 2 "$(code shop backup "$keys/stolen")"
rm -r "$keys"

step "Every region writes all the time, and eu is cut off for $cut_for s."
compose --profile load up -d >/dev/null 2>&1
sleep 3
for member in eu-1 eu-2; do between disconnect "${project}_between" "$prefix$member"; done
see 'eu counts on' 11 "$(at eu-1 counter incr hits 10)"
see 'us counts on' 101 "$(at us-1 counter incr hits 100)"
within 'ap hears us' 10 value_is ap-1 hits 101
see 'eu hears nobody' 11 "$(at eu-2 counter get hits)"
at eu-1 set rm fruit apple >/dev/null
at us-1 set add fruit apple >/dev/null # not having heard of it
verdict=0
at us-1 verify --wait 0s --timeout 2s >/dev/null 2>&1 || verdict=$?
see 'verify in us: regions do not answer (exit code 3)' 3 "$verdict"
sleep "$cut_for"

step 'eu is back.'
for member in eu-1 eu-2; do between connect --alias "$member" "${project}_between" "$prefix$member"; done
for member in eu-1 us-2 ap-1; do within "$member counts all of it" 30 value_is "$member" hits 111; done
within 'the element added again is in eu' 10 at eu-1 set has fruit apple

step 'The load ends. Nothing that was acknowledged is missing, and no write failed.'
for region in eu us ap; do docker kill --signal INT "$(compose --profile load ps -q "load-$region")" >/dev/null; done
for region in eu us ap; do
	load=$(compose --profile load ps -q "load-$region")
	see "load in $region: exit code" 0 "$(docker wait "$load")"
	docker logs "$load" 2>&1 | tail -7 | sed 's/^/          /'
done
within 'all agree' 30 at ap-2 verify --wait 1s
at ap-2 verify | tail -1 | sed 's/^/        /'

if ((failed)); then
	printf '\nsomething was not as expected, see above\n'
	exit 1
fi
printf '\nall as expected\n'
