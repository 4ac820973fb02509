package transport

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxSubjectBytes bounds the length of a subject.
const MaxSubjectBytes = 256

// The subjects of a cluster. Shard is the index of a shard, member a member's name.
const (
	// AllDeltas matches the delta subject of every shard.
	AllDeltas = "delta.*"
	// Gossip carries what members say of themselves to all others.
	Gossip = "gossip"
	// Heartbeat carries that members are there, and whom they miss.
	Heartbeat = "heartbeat"
	// OwnersGroup is the group in which the owners of a shard in one region
	// serve requests.
	OwnersGroup = "owners"
)

// The subjects of what users ask for end with the user's name: so a permission
// to publish there says who asks, and the network keeps to it.
const (
	// Trusted stands there for who may do everything: members, and everybody in
	// a cluster without users. No user is called so.
	Trusted = "-"
	// Any is in a pattern what matches every name and every shard.
	Any = "*"
)

// Delta returns the subject on which events of the shard are broadcast.
func Delta(shard int) string { return "delta." + strconv.Itoa(shard) }

// Requests returns the subject on which a region's owners of the shard serve
// requests of a user. Each region has its own: where regions share a subject,
// both may serve one request while they are linking up, and count it twice.
func Requests(region string, shard int, user string) string {
	return "kv." + region + "." + strconv.Itoa(shard) + "." + user
}

// ShardRequests matches the request subject of every user of a shard.
func ShardRequests(region string, shard int) string { return Requests(region, shard, Any) }

// AllRequests matches the request subject of every shard in a region.
func AllRequests(region string) string { return "kv." + region + ".*.*" }

// Fallback returns the subject on which any member of a region takes writes of a
// user to a shard of which no owner can be reached.
func Fallback(region string, shard int, user string) string {
	return "fallback." + region + "." + strconv.Itoa(shard) + "." + user
}

// AllFallbacks matches the fallback subject of every shard in a region.
func AllFallbacks(region string) string { return "fallback." + region + ".*.*" }

// Info returns the subject that any member answers, of the requester's region if
// there is one: what the cluster is, and which regions it has.
func Info(user string) string { return "info." + user }

// Questions returns the subject on which a member answers those who look after
// the cluster: the table of members, status, settings, backups.
func Questions(member, user string) string { return "ask." + member + "." + user }

// OfUsers returns patterns of all subjects to which a user sends requests, or
// Any user.
func OfUsers(user string) []string {
	return []string{"kv.*.*." + user, "fallback.*.*." + user, Info(user), Questions(Any, user)}
}

// ShardToken returns the token of the shard in the subject of a delta, a request
// or a fallback; "" if there is none.
func ShardToken(subject string) string {
	tokens := strings.Split(subject, ".")
	switch {
	case len(tokens) == 2 && tokens[0] == "delta":
		return tokens[1]
	case len(tokens) == 4:
		return tokens[2]
	}
	return ""
}

// UserToken returns the token of the user in a subject of what users ask for.
func UserToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// Sync returns the subject on which a member serves other members: fetches,
// walks, summaries.
func Sync(member string) string { return "sync." + member }

// CheckSubject says whether a message may be sent to subject: one or more
// tokens of visible ASCII characters, separated by single dots, without
// wildcards. It fails with ErrBadSubject.
func CheckSubject(subject string) error {
	if err := CheckPattern(subject); err != nil {
		return err
	}
	if strings.Contains(subject, "*") {
		return fmt.Errorf("%w: %q has a wildcard; only a subscription may", ErrBadSubject, subject)
	}
	return nil
}

// CheckPattern says whether pattern may be subscribed to: a subject in which
// whole tokens may be "*". It fails with ErrBadSubject.
func CheckPattern(pattern string) error {
	if len(pattern) > MaxSubjectBytes {
		return fmt.Errorf("%w: %d bytes long, at most %d are allowed", ErrBadSubject, len(pattern), MaxSubjectBytes)
	}
	for token := range strings.SplitSeq(pattern, ".") {
		if token == "" {
			return fmt.Errorf("%w: %q has an empty token", ErrBadSubject, pattern)
		}
		if token != "*" && strings.ContainsFunc(token, notInToken) {
			return fmt.Errorf("%w: %q has a token with a character other than visible ASCII without * and >", ErrBadSubject, pattern)
		}
	}
	return nil
}

func notInToken(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' || r == '>' }

// Match says whether a message sent to subject reaches a subscription to
// pattern. Both must be well-formed.
func Match(pattern, subject string) bool {
	for {
		p, patternRest, morePattern := strings.Cut(pattern, ".")
		s, subjectRest, moreSubject := strings.Cut(subject, ".")
		if p != "*" && p != s || morePattern != moreSubject {
			return false
		}
		if !morePattern {
			return true
		}
		pattern, subject = patternRest, subjectRest
	}
}
