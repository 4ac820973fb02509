// Command counter counts in one region and reads the count in another: what a
// program needs of package client to do so, and how long it takes.
//
//	go run ./cmd/crdtctl demo --keep
//	go run ./examples/counter --write 127.0.0.1:4222 --read 127.0.0.1:4223
//
// The demo prints the addresses of its regions; take two of them. The program
// ends with exit code 0 once the other region has counted, too, and with 1 if
// that takes longer than --wait.
package main
