// Package ports draws ports for tests that have to say beforehand where something
// listens, which may go and come back there.
//
// Another process may take a port meanwhile, but hardly does. A test that can listen
// at port 0 does that instead.
package ports
