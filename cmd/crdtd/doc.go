// Command crdtd runs one member of an Atoll cluster.
//
//	crdtd --region eu --data /var/lib/atoll
//	crdtd --config /etc/atoll.toml
//
// It runs until SIGINT or SIGTERM, then answers what is under way and stops; a
// second signal does not wait for that. With --http it serves metrics and health
// to those who run it.
// "crdtd --help" lists the flags and exit codes.
package main
