// Package nats speaks the contract of package transport over NATS: an embedded
// server per member (Start), or a connection to servers there are, of a member
// (Attach) or of a client (Dial).
//
//	options.go  Options, defaults and checks
//	server.go   Start, Server: the embedded server, its addresses and links
//	config.go   what a nats-server is told, and why
//	conn.go     Conn: publish, subscribe, request
//	serve.go    serve: endpoints of a micro service, a bound on requests
//	attach.go   Attach: how a member logs in elsewhere
//	dial.go     Dial
//	lock.go     who is let in, and reaches what
//	outcome.go  how errors travel and what errors of NATS mean
//	watch.go    whether it is connected, what it refused
//	log.go      the server's log, and the errors it only logs
//
// The servers of a region are one NATS cluster, joined by routes; regions are
// joined by gateways, each with each. A publication crosses to a region once.
// Requests carry the same queue group everywhere, so NATS hands them to a
// member of the requester's region, and to the nearest other region if there
// is none. No region relays for another.
//
// A link between regions that breaks loses what is published meanwhile, and
// nobody is told: Options.Lost reports only what happens between a member and
// its own server. The engine learns of the rest by what peers advertise.
//
// On the wire a request and its answer are plain payloads. A failed request is
// answered as the micro framework does, with the headers Nats-Service-Error
// and Nats-Service-Error-Code; the payload is the whole text.
//
// Without a Lock everybody who reaches a server is let in, and everything listens
// on loopback unless told otherwise. With one, members prove who they are to each
// other, and users to members; see lock.go.
package nats
