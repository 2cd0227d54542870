module examples

go 1.24

require roadrunner v0.0.0

replace roadrunner => ../../go
