// Package server puts a member together: the store, the engine and the
// network, from one Config. It is what crdtd runs and what a Go program embeds.
//
//	config.go   Config: fields, defaults, files, checks
//	server.go   Start, Close, Client
//	http.go     metrics, health, profiles and the level of the log, by HTTP
//	links.go    what to do when others come into reach
//
// An embedded member is a full member: it replicates with the others, and
// Client serves it by function calls, without the network.
package server
