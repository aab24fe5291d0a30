"""The microservice chassis: what every service stands on. Imports contracts only."""
