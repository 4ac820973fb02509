// Command crdtctl reads and writes the data of an Atoll cluster, shows how its
// members stand to each other, and proves that they agree.
//
//	crdtctl counter incr likes:42
//	crdtctl --server 10.0.0.1:4222 verify
//
// "crdtctl --help" lists the commands and exit codes.
//
//	main.go       starts, reports, ends
//	app.go        the commands, the global flags, how to connect
//	arguments.go  the order of words on the command line, unknown words
//	exit.go       exit codes and what is said of errors
//	output.go     tables for people, JSON for programs
//	counter.go, set.go, register.go, del.go, status.go, verify.go, bench.go,
//	demo.go, completion.go, version.go
//
// It keeps nothing and needs no configuration; each command is one connection.
package main
