// Package demo is "crdtctl demo": three regions in one process that count the
// traffic of a web site, one of them cut off for a while, and the proof that
// they agree in the end.
//
//	demo.go     Options, Run: the course of events
//	cluster.go  three members, real gateways, a simulated WAN between them
//	replay.go   hits into operations, by many clients in all regions at once
//	screen.go   what is shown while it runs
//	check.go    what every region holds against totals that use no CRDT
//	outcome.go  the same for programs
//
// Nothing in it is simulated but the cable: each region has its own data
// directory, NATS server and client connections, and is cut off by resetting
// its gateway connections.
package demo
