package sim

// chance is a source of decisions: each is a hash of the seed and of what it
// is about, so that it does not depend on who asks first.
type chance uint64

// draw returns 64 bits for the given subject.
func (c chance) draw(about ...uint64) uint64 {
	h := mix(uint64(c) + 0x9e3779b97f4a7c15)
	for _, a := range about {
		h = mix(h ^ mix(a+0x9e3779b97f4a7c15))
	}
	return h
}

// happens says yes in so many cases of a thousand.
func (c chance) happens(perMille int, about ...uint64) bool {
	return c.draw(about...)%1000 < uint64(perMille)
}

// mix is the finalizer of SplitMix64: each bit of x changes each bit of the
// result with about even odds.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// text hashes a string or bytes (FNV-1a).
func text[T string | []byte](s T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
