// Package membership tells which members of a cluster can be reached.
//
//	config.go    Config: the pace and the thresholds
//	history.go   history: the rhythm of one member's heartbeats, and phi
//	detector.go  Detector: what one observer makes of all heartbeats
//
// Every member sends heartbeats. Every member is an observer of all others: a
// phi-accrual detector (Hayashibara, Défago, Yared, Katayama: The φ Accrual
// Failure Detector, 2004) turns the silence of each into a level of suspicion
// that grows with it and takes into account how regular its heartbeats were.
// Above a threshold the member is suspect. Heartbeats carry the suspicions of
// their sender; what a majority of observers suspects is down.
//
// That changes who is asked, what a quorum can count on, and how long logs are
// kept. It never changes who owns what: only an operator removes a member.
//
// The package is pure: it is told the time and sends nothing. A Detector is
// for one goroutine.
package membership
