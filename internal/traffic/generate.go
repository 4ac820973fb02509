package traffic

import (
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sort"
	"time"
)

// What the made-up site looks like.
const (
	generatedDays  = 4
	generatedPages = 300
	minVisitors    = 200
	maxVisitors    = 5000

	// openSessions visitors are on the site at any time, for hitsPerSession
	// hits each on average.
	openSessions   = 16
	hitsPerSession = 3
)

// Generate returns n made-up hits in order of time, the same ones for the same
// seed and n, on every machine and each time it is ranged over. They spread
// over four days from 2026-03-02 with busy evenings and quiet nights, over 300
// paths and up to 5,000 visitors that are asked for and come back as Zipf's law
// has it: about inversely to their rank. All addresses are from the
// ranges reserved for documentation (RFC 5737, RFC 3849), so nobody's is
// accused. For n < 1 there are none.
func Generate(seed uint64, n int) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		site := newSite(seed, n)
		for i := range n {
			if !yield(site.hit(i, n)) {
				return
			}
		}
	}
}

// site draws the hits of one run. It computes with integers only: floating
// point may differ in the last bit between processors.
type site struct {
	random   *rand.Rand
	paths    []string
	visitors []string
	byPath   ranks
	byClient ranks
	sessions [openSessions]string
}

func newSite(seed uint64, n int) *site {
	s := &site{
		random:   rand.New(rand.NewPCG(seed, 0x61746f6c6c)),
		paths:    sitePaths(),
		visitors: siteVisitors(min(max(n/5, minVisitors), maxVisitors)),
	}
	// The offsets flatten the top: a favicon has about 7 % of a site's hits.
	s.byPath = zipf(len(s.paths), 3)
	s.byClient = zipf(len(s.visitors), 10)
	return s
}

// hit draws hit i of n.
func (s *site) hit(i, n int) Hit {
	h := Hit{Time: s.time(i, n), Method: "GET", Path: s.paths[s.byPath.draw(s.random)]}
	slot := s.random.IntN(openSessions)
	if s.sessions[slot] == "" || s.random.IntN(hitsPerSession) == 0 {
		s.sessions[slot] = s.visitors[s.byClient.draw(s.random)]
	}
	h.Client = s.sessions[slot]
	switch chance := s.random.IntN(100); {
	case chance < 3:
		h.Method = "HEAD"
	case chance < 4:
		h.Method = "POST"
	}
	return h
}

// time places hit i of n: the days are divided into n slots of equal traffic,
// and the hit falls anywhere into its slot.
func (s *site) time(i, n int) time.Time {
	// How busy a second is, by hour of the day.
	busy := [24]uint64{4, 3, 2, 2, 2, 3, 4, 6, 8, 9, 10, 10, 11, 11, 10, 10, 10, 11, 12, 13, 14, 13, 10, 7}
	var day uint64
	for _, second := range busy {
		day += second * 3600
	}
	// i*total/n without overflow; the quotient is below total.
	total := generatedDays * day
	high, low := bits.Mul64(uint64(i), total)
	at, _ := bits.Div64(high, low, uint64(n))
	at += s.random.Uint64N(max(total/uint64(n), 1))

	seconds := at / day * 24 * 3600
	at %= day
	for _, second := range busy {
		if at < second*3600 {
			seconds += at / second
			break
		}
		at -= second * 3600
		seconds += 3600
	}
	start := time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)
	return start.Add(time.Duration(seconds) * time.Second)
}

// sitePaths returns the paths of the site, the most wanted first.
func sitePaths() []string {
	paths := []string{
		"/favicon.ico", "/", "/style.css", "/logo.png", "/robots.txt", "/feed.xml", "/about", "/search", "/archive",
	}
	for page := 1; len(paths) < generatedPages; page++ {
		paths = append(paths, fmt.Sprintf("/articles/%03d", page))
		if page%2 == 0 && len(paths) < generatedPages {
			paths = append(paths, fmt.Sprintf("/images/photo-%03d.jpg", page))
		}
	}
	return paths
}

// siteVisitors returns n distinct addresses: IPv4 and IPv6 by turns until the
// three IPv4 ranges are used up, IPv6 from there on.
func siteVisitors(n int) []string {
	const hosts = 254
	v4 := [][4]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}
	visitors := make([]string, n)
	for i := range visitors {
		if k := i / 2; i%2 == 0 && k < len(v4)*hosts {
			address := v4[k%len(v4)]
			address[3] = byte(1 + k/len(v4))
			visitors[i] = netip.AddrFrom4(address).String()
			continue
		}
		// 2001:db8:<one of 64 networks>::<host>
		visitors[i] = netip.AddrFrom16([16]byte{
			0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: byte(i % 64), 14: byte(i >> 8), 15: byte(i),
		}).String()
	}
	return visitors
}

// ranks draws ranks by weight: ranks[r] is the sum of the weights up to and
// with rank r.
type ranks []uint64

// zipf weighs rank r of n, from 0, with 1/(r+offset).
func zipf(n int, offset uint64) ranks {
	const scale = 1 << 32
	sums := make(ranks, n)
	var sum uint64
	for r := range sums {
		sum += scale / (uint64(r) + offset)
		sums[r] = sum
	}
	return sums
}

func (s ranks) draw(random *rand.Rand) int {
	at := random.Uint64N(s[len(s)-1])
	return sort.Search(len(s), func(r int) bool { return s[r] > at })
}
