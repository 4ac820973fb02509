// Package bubble runs tests in bubbles of virtual time, those of testing/synctest.
//
//	Test    runs a test in a bubble
//	Wait    waits until all else in the bubble is blocked
//
// It is the one door to testing/synctest, for the sake of a defect of Go up to 1.26
// at least (golang/go#78156): with the race detector, all timers of a bubble share one
// context of the detector, which two processors that fire timers at the same moment
// corrupt, until the program crashes. With the detector, a bubble has one processor
// therefore. That hides no race: the detector goes by what is ordered before what,
// not by what happens to run at the same moment.
package bubble
