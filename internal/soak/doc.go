// Command soak lets three regions of one crdtd each, as processes, live through
// faults for a given time, under the load of clients, and proves after each
// round of faults that all regions agree and nothing acknowledged is lost.
//
//	make soak DURATION=10m
//	go run ./internal/soak --duration 10m --seed 7
//
//	main.go     the command line
//	soak.go     the course of a run: rounds, what is checked after each
//	fault.go    the faults of a round, drawn from the seed
//	summary.go  what a run came to, for people and programs
//
// Members are killed as kill -9 does, stopped, paused by SIGSTOP, and their
// gateways cut off from all or one of the others, by resets or in silence; often
// several at once. The seed decides the faults and what is written; what meets
// what is up to the machine. Exit code 0 says that nothing is lost, 1 that
// something is, or that the regions did not agree in time; the logs and data of
// the members are kept then.
//
// It is a program for developers, which is why it is not in cmd.
package main
