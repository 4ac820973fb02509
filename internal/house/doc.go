// Package house keeps the house in order: its tests read every Go file of the
// module and fail where one breaks a rule of the layout.
//
//	plan_test.go    the rules: which package stands on which floor, what may
//	                not be imported or called where, and why
//	source_test.go  reads the sources: packages, imports, calls
//	rules_test.go   compares the two
//	house_test.go   the tests, and for each rule a house that breaks it
//
// Imports point down only: the pure algebra stands on floor 0, programs at the
// top. A new package needs a place in the plan; a new dependency needs a line
// that says who may import it, and why. Rules hold for what is built into
// programs; test files may import what they like, but not be endless.
//
// Sources are parsed, not built or listed by the go command, so that files for
// every system are seen, and the test result is cached until one changes.
package house
