//go:build race

package nats_test

// manyClients are fewer here, as logins are slow: that more than a page is seen is shown
// without the race detector.
const manyClients = 100
