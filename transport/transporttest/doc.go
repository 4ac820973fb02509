// Package transporttest holds what every transport must do, as tests. An
// adapter's test calls Run with a function that makes a Network of its kind.
//
//	suite.go      Run, Network, and how a test waits
//	publish.go    Publish and Subscribe
//	request.go    Request and Serve
//	geography.go  regions: affinity, failover, cuts
//
// A network may need a moment until a new subscription is seen everywhere, so
// the tests first send until something comes through, and only then assert.
// They never conclude from waiting that a message will not come: a later
// message of the same publisher, once received, proves that an earlier one
// was lost.
package transporttest
