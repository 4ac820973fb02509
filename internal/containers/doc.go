// Package containers runs crdtd in containers, in regions that are networks, and
// does to them what happens to machines: networks are cut, lose and delay; members
// are paused, killed, updated; disks fill up; clocks are wrong.
//
//	engine.go   Engine: the Docker engine, by its command
//	image.go    Build: the image of examples/geo, of programs that are built here
//	cluster.go  Cluster: networks and members, and the end of all of them
//	member.go   Member: one container, and what can be done to it
//	backup.go   Backup, Lose, Restore: what crdtctl does in a container beside it
//	fault.go    Worsen, Fill: what the engine has no command for
//
// Everything it makes bears the name and the label of one cluster, and nobody
// else's, so that it can run beside others. Close removes it, and New what an
// earlier run of this package could not remove, an hour later.
//
// Where there is no Docker engine, Find says so.
package containers
