"""The standalone stack: a data folder, a broker, a database and the services, on one machine with nothing installed."""
