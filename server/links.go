package server

import "time"

// linksInterval is how often the links to others are looked at. A link that
// broke takes NATS a second to replace.
const linksInterval = 200 * time.Millisecond

// watchLinks has the engine tell what it has whenever a region, or a member of
// the own one, has come into reach: what was said while it was not is lost.
func (s *Server) watchLinks() {
	ticks := time.NewTicker(linksInterval)
	defer ticks.Stop()
	reached, routes := map[string]uint64{}, 0
	for {
		news := false
		now := map[string]uint64{}
		for region, links := range s.network.Gateways() {
			if links.Outbound == 0 {
				continue
			}
			link, known := reached[region]
			news = news || !known || link != links.Link
			now[region] = links.Link
		}
		if n := s.network.Routes(); n != routes {
			news, routes = news || n > routes, n
		}
		reached = now
		if news {
			s.replica.Announce()
		}
		select {
		case <-ticks.C:
		case <-s.closing:
			return
		}
	}
}
