package nats

// Connected says whether this end is connected to its server.
func (c *Conn) Connected() bool {
	return c.events != nil && c.events.IsConnected() && c.requests != nil && c.requests.IsConnected()
}

// Refused returns how many requests were refused here, because too many were
// under way or the end was closing.
func (c *Conn) Refused() uint64 { return c.refused.Load() }
