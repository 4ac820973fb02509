// Package traffic is what the demo counts: requests to a web site, read from
// an access log or made up, and the plain totals of them that the replicated
// counts must equal in the end.
//
//	Open, Log.Hits   -> hits of a log in Apache combined format, plain or gzip
//	Generate         -> made-up hits, the same ones for the same seed
//	Totals           <- the truth, added up with ordinary maps
//
// A hit is what the demo needs of a request and no more: who, when, what path.
// Three questions have more than one reasonable answer; here they have these:
//
//   - The path is the request target without its query ("?...") and fragment:
//     "/blog?page=2" is a hit on "/blog". The text is otherwise as logged, so
//     "//favicon.ico" is not "/favicon.ico", nor is "%2f" a slash.
//   - A day is a day in UTC, whatever the zone of the log.
//   - A visitor is a client address exactly as logged.
//
// The caller closes what it opened, and reads one Log from one goroutine
// (Progress may be called from any). It decides whether a line that cannot be
// understood ends the reading. The package holds no replicated type and
// imports none: an oracle that shared code with what it checks would share its
// defects.
package traffic
