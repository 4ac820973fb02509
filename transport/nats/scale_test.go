//go:build !race

package nats_test

// manyClients is more than a page of what a server lists.
const manyClients = 1100
