"""What an architecture costs: tables of parameters, multiply-adds, memory access; expectations."""
