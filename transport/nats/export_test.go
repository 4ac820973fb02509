package nats

// Clients returns how many clients the server has.
func (s *Server) Clients() int { return s.server.NumClients() }
