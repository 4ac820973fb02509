package traffic

import "time"

// Hit is one request to a web site.
type Hit struct {
	// Client is the address or host name that asked, exactly as logged: 1 to
	// MaxClientBytes printable ASCII characters, no spaces. A log may say "-".
	Client string

	// Time is when the request came, in UTC, to the second.
	Time time.Time

	// Method is the request's method, or "-" where the client did not speak
	// HTTP or said nothing.
	Method string

	// Path is the path that was asked for, without query and fragment: 1 to
	// MaxPathBytes printable ASCII characters. It is "-" where the request
	// names no path, so that no hit is ever left out of the counts.
	Path string
}

// Day returns the UTC day of the hit, such as "2015-05-17".
func (h Hit) Day() string { return h.Time.UTC().Format(time.DateOnly) }
