// Package transport is the contract between a member and the network: fire
// and forget to many, ask one and wait.
//
//	Publish   -> every Subscribe of the subject, everywhere   (deltas, gossip)
//	Request   -> one Serve of the subject, nearest region first (requests, sync)
//
// Nothing here promises delivery. A published message may be lost, repeated or
// overtaken, silently; a request ends in an answer or in an error, and after
// an error it is not known whether it was served. The replica engine is built
// for exactly that: it numbers its events and fetches what it misses.
//
// Subjects are dot-separated tokens, as in NATS; a subscription may use "*"
// for one token. The package holds no implementation: transport/nats speaks
// NATS, transport/memnet is an in-memory network for tests, and both pass
// transport/transporttest.
package transport
